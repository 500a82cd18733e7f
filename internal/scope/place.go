package scope

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/pool"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// Place is where the statements of one handle run: on a connection of the handle's own, which may be
// a session's, or on the connection of a level. Its methods are called one at a time, as the handle's
// are.
type Place struct {
	home     *Home
	belongs  *Scope   // what the context belongs to with which database/sql took the handle
	session  *Session // whose statements run
	level    *Level   // on whose connection they run; then the handle has none of its own
	isNative bool     // native code has the level's turn
	isNested bool     // the level is a transaction of database/sql on the handle
	use      Use      // of a connection of the handle's own, for the session
}

// NewPlace returns the Place of a handle that is taken with ctx.
func (h *Home) NewPlace(ctx context.Context) Place { return Place{home: h, belongs: h.Of(ctx)} }

// Take notes that database/sql takes the handle with ctx.
func (p *Place) Take(ctx context.Context) { p.belongs = p.home.Of(ctx) }

// Forget notes that database/sql has the handle back.
func (p *Place) Forget() { p.belongs = nil }

// Level returns the level that statements run on, nil if the handle has a connection of its own, or
// none.
func (p *Place) Level() *Level { return p.level }

// Join finds what a statement belongs to, for a handle without a connection, and returns its level.
// Native code that has the level's turn loses it.
func (p *Place) Join(ctx context.Context) *Level {
	if p.level != nil {
		_ = p.NativeDone(nil) // it was reported to the code
		if p.belongs != nil || p.isNested || !p.level.Ended() {
			return p.level
		} // else a *sql.Conn from outside has outlived the transaction
	}
	s := p.belongs
	if s == nil {
		s = p.home.Of(ctx)
	}
	p.session, p.level = s.Place()
	return p.level
}

// Acquire takes a connection of the pool.
func (p *Place) Acquire(ctx context.Context, text string, waited time.Duration) (*pool.Conn, error) {
	c, err := p.home.AcquireFor(ctx, p.session, text, waited)
	if err == nil {
		p.use.Begin(p.session, text)
	}
	return c, err
}

// Release leaves the level, and gives back the connection of the handle's own, nil for none: to the
// pool, or to the session if it has session state. Native code has a connection for itself.
func (p *Place) Release(c *pool.Conn, wasNative bool) {
	_ = p.NativeDone(nil) // it was reported to the code
	s := p.session
	p.session, p.level, p.isNested = nil, nil, false
	if c == nil {
		return
	}
	if wasNative {
		s = nil
	}
	p.use.End()
	p.home.Release(c, c.Server.(*serverconn.Conn), s)
}

// Began returns the time, if a session may want to know how long a statement takes.
func (p *Place) Began() (now time.Time) {
	if p.home.inUse.Load() {
		now = time.Now()
	}
	return now
}

// Ran counts a statement of the application that began then.
func (p *Place) Ran(text string, began time.Time) { p.session.Ran(text, began) }

// Opened notes what the use of the handle's own connection has open.
func (p *Place) Opened(l Left) {
	if p.use.session != nil {
		p.use.state.Store(uint32(l))
	}
}

// NativeConn returns the level's connection if native code has the turn already, else nil.
func (p *Place) NativeConn() *pgx.Conn {
	if !p.isNative {
		return nil
	}
	return p.level.conn.server.Pgx()
}

// Native takes the turn of the level for native code, which has it until NativeDone.
func (p *Place) Native(
	ctx context.Context, prepare func(*serverconn.Conn) (*pgx.Conn, error),
) (*pgx.Conn, error) {
	conn, err := p.level.Native(ctx, prepare)
	p.isNative = err == nil
	return conn, err
}

// NativeDone ends the turn of native code, which has ended with err. It does nothing if none has it.
func (p *Place) NativeDone(err error) error {
	if !p.isNative {
		return err
	}
	p.isNative = false
	return p.level.NativeDone(err)
}

// nestedTx is a transaction of database/sql within a level.
type nestedTx struct {
	place        *Place
	ctx          context.Context // BeginTx's
	outer, inner *Level
	ended        func()
}

// Nest begins a transaction of database/sql within the level. ended is called at its end.
func (p *Place) Nest(
	ctx context.Context, want *ctxsettings.Settings, opts driver.TxOptions, ended func(),
) (driver.Tx, error) {
	inner, err := p.level.Nest(ctx, want, opts, 0)
	if err != nil {
		return nil, err
	}
	t := &nestedTx{p, ctx, p.level, inner, ended}
	p.level, p.isNested = inner, true
	return t, nil
}

// Commit keeps what was done in the transaction, as far as the outer one is committed.
func (t *nestedTx) Commit() error {
	t.leave()
	return t.inner.Commit(t.ctx, nil)
}

// Rollback undoes what was done in the transaction, and leaves the outer one as it is.
func (t *nestedTx) Rollback() error {
	t.leave()
	return t.inner.Rollback(t.ctx, nil)
}

func (t *nestedTx) leave() {
	t.place.level, t.place.isNested = t.outer, false
	t.ended()
}
