package pgsafe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/ctxrows"
	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/guard"
)

// stdConn is an alias so that embedding it in Conn does not make a field named Conn, which would hide pgx's method
// Conn() *pgx.Conn.
type stdConn = stdlib.Conn

// A lease is in one of these states. Only its user moves it out of leaseHeld; all else happens under the parking
// lot's mutex.
const (
	leaseHeld   uint32 = iota // in use
	leaseFresh                // handed out, not used yet
	leaseParked               // kept idle by database/sql
	leaseEmpty                // its connection was taken back, or none could be had
	leaseClosed
)

// Conn is what database/sql holds: a lease on a physical connection of the Connector's pool. It is pgx's own
// *stdlib.Conn with a life cycle of its own, so all optional driver interfaces and Conn() *pgx.Conn are pgx's.
//
// While database/sql keeps a lease idle, its connection may be taken back for somebody who waits. It then gets
// another at its next use, waiting its turn with that use's context.
type Conn struct {
	*stdConn // nil while the lease is empty

	connector *Connector
	phys      *physical
	state     atomic.Uint32
	born      time.Time
	judged    bool                  // it was looked at since the last use, and is not broken as far as known
	yielding  bool                  // database/sql was told to give this lease back for somebody who waits
	bindErr   error                 // why an empty lease could get no connection
	open      map[string]int        // texts of the lease's open statements
	inherits  *ctxsettings.Settings // what a statement runs with whose context has none
	cleaning  <-chan struct{}       // closed when its connection has been reset; nil if it was clean
	rows      Rows                  // of the query under way
}

var (
	_ driver.Conn               = (*Conn)(nil)
	_ driver.ConnBeginTx        = (*Conn)(nil)
	_ driver.ConnPrepareContext = (*Conn)(nil)
	_ driver.ExecerContext      = (*Conn)(nil)
	_ driver.NamedValueChecker  = (*Conn)(nil)
	_ driver.Pinger             = (*Conn)(nil)
	_ driver.QueryerContext     = (*Conn)(nil)
	_ driver.SessionResetter    = (*Conn)(nil)
	_ driver.Validator          = (*Conn)(nil)
)

// Raw runs f with the pgx connection under conn, for COPY, LISTEN, batches and all else that is pgx's own. f must
// not keep it. It works on connections of pgsafe and of pgx's stdlib. As with sql.Conn.Raw, conn is not used
// otherwise while f runs, and the connection is closed if f panics or returns driver.ErrBadConn. There is no context:
// if conn was not used before and has lost its connection to somebody who waited, Raw waits for another, for at most
// the pool's AcquireTimeout if there is one.
func Raw(conn *sql.Conn, f func(*pgx.Conn) error) error {
	return conn.Raw(func(driverConn any) error {
		if layer, ok := driverConn.(interface{ Raw() driver.Conn }); ok { // otelsql's
			driverConn = layer.Raw()
		}
		if lease, ok := driverConn.(*Conn); ok {
			if err := lease.useFor(context.Background(), nil); err != nil {
				return err
			}
		}
		c, ok := driverConn.(interface{ Conn() *pgx.Conn })
		if !ok {
			return errors.New("pgsafe: Raw needs a connection of the pgsafe or pgx driver")
		}
		return f(c.Conn())
	})
}

// Conn returns the pgx connection, for use within sql.Conn.Raw. It is nil only if the lease lost its connection
// before its first use and no other could be had; Raw returns the reason.
func (l *Conn) Conn() *pgx.Conn {
	if l.useFor(context.Background(), nil) != nil {
		return nil
	}
	return l.stdConn.Conn()
}

// use makes sure, before anything runs on the lease, that it holds a connection and keeps it, and that the
// cancellation of what ran before cannot hit what comes now.
func (l *Conn) use(ctx context.Context) error {
	if l.state.Load() != leaseHeld || l.phys.guard.Fenced() {
		if err := l.useSlowly(ctx); err != nil {
			return err
		}
	}
	l.phys.wire.Start()
	return nil
}

func (l *Conn) useSlowly(ctx context.Context) error {
	if err := l.awaitCleaning(ctx); err != nil {
		return err
	}
	if l.bindErr != nil {
		return l.bindErr
	}
	if l.connector.lot.use(l) {
		return l.phys.guard.Clear()
	}
	if l.state.Load() == leaseClosed {
		return driver.ErrBadConn
	}
	std, err := l.connector.acquire(ctx)
	if err != nil {
		l.bindErr = err
		return err
	}
	l.stdConn, l.phys = std, physicalOf(std.Conn())
	l.judged = false
	l.connector.lot.rebind(l.phys, l)
	return nil
}

// ResetSession is called by database/sql before it uses the lease again.
func (l *Conn) ResetSession(ctx context.Context) error {
	l.inherits = ctxsettings.Of(ctx)
	if l.awaitCleaning(ctx) != nil {
		return nil // the statement that comes next says so
	}
	if l.connector.lot.use(l) {
		if l.fit(ctx) {
			return nil
		}
		l.abandon()
	}
	// The lease gets another connection. It does not say driver.ErrBadConn of the one that it had: that would use up one
	// of database/sql's tries, and on the last one would reach the application (DB.conn, with SetMaxOpenConns).
	// database/sql drops any other error here, so a failure to get one is told by the statement that comes next.
	_ = l.useSlowly(ctx)
	return nil
}

// IsValid is called by database/sql when a lease comes back, to know whether to keep it.
func (l *Conn) IsValid() bool {
	if l.beingCleaned() {
		return true
	}
	if l.state.Load() != leaseHeld && !l.connector.lot.use(l) {
		return l.bindErr == nil // an empty lease may be kept: it costs nothing
	}
	l.judged = true
	l.connector.learn(l.phys)
	if !l.phys.reusable() || l.phys.expired(time.Now()) || l.connector.stale(l.phys) {
		return false
	}
	l.connector.tracer.Settled(l.stdConn.Conn())
	if l.soiled() {
		return l.cleanAside()
	}
	if !l.connector.lot.park(l) {
		l.yielding = true
		return false
	}
	return true
}

// recycleAge is the age from which a lease that database/sql closes takes its connection with it. Closing is how
// database/sql carries out SetConnMaxLifetime and SetConnMaxIdleTime; but with its default of two idle
// connections it closes young ones all the time, and those must go back to the pool.
const recycleAge = 10 * time.Second

// Close gives the connection back to the pool, or closes it if it is broken or has outlived what the application
// allows.
func (l *Conn) Close() error {
	_ = l.awaitCleaning(context.Background())
	std, before := l.connector.lot.leave(l)
	if std == nil {
		return nil
	}
	// database/sql asks IsValid before it closes a good lease, and closes without asking one that the application or
	// a statement has called bad (DB.putConn).
	broken := before == leaseHeld && !l.judged
	if broken {
		l.connector.suspectOthers()
	}
	if broken || l.outlived() {
		closeNow(std.Conn())
	}
	return std.Close()
}

// outlived tells whether the connection has to end with the lease.
func (l *Conn) outlived() bool {
	now := time.Now()
	return l.phys.expired(now) || !l.yielding && now.Sub(l.born) >= recycleAge
}

// closeNow ends a connection, which its pool then drops.
func closeNow(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = conn.Close(guard.Patient(ctx, 0)) // it is gone either way
}

// PrepareContext prepares a statement, or finds it prepared on the connection by an earlier lease.
func (l *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := l.useFor(ctx, nil); err != nil {
		return nil, err
	}
	stmt, err := prepare(ctx, l, query)
	if err != nil {
		return nil, l.endedHarmless(ctx, err)
	}
	return stmt, nil
}

// Prepare is PrepareContext without a context.
func (l *Conn) Prepare(query string) (driver.Stmt, error) {
	return l.PrepareContext(context.Background(), query)
}

// ExecContext runs a statement that returns no rows.
func (l *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := l.useFor(ctx, l.connector.residueOf(query)); err != nil {
		return nil, err
	}
	res, err := l.stdConn.ExecContext(ctx, query, l.connector.commented(ctx, args))
	return res, l.ended(ctx, err)
}

// QueryContext runs a statement that returns rows, a *Rows.
func (l *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if watch, ok := ctx.(ctxrows.Watcher); ok {
		return l.queryWatched(watch, query, args)
	}
	if err := l.useFor(ctx, l.connector.residueOf(query)); err != nil {
		return nil, err
	}
	rows, err := l.stdConn.QueryContext(ctx, query, l.connector.commented(ctx, args))
	return l.queried(ctx, rows, err)
}

// Ping asks the server for a sign of life. If there is none the connection is closed. pgx's own would give it back to
// the pool in that case, while the lease still holds it. If ctx ends first, nothing is known of the connection.
func (l *Conn) Ping(ctx context.Context) error {
	if err := l.use(ctx); err != nil {
		return err
	}
	err := l.stdConn.Conn().Ping(ctx)
	if err == nil || ctx.Err() != nil {
		return l.ended(ctx, err)
	}
	closeNow(l.stdConn.Conn())
	return l.endedHarmless(ctx, err)
}

// CheckNamedValue lets pgx see each argument as it is. It is not promoted from pgx's, because database/sql calls it
// before the lease is in use and so may have no connection.
func (l *Conn) CheckNamedValue(*driver.NamedValue) error { return nil }
