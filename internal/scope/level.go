package scope

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// Level is a transaction, a savepoint within one, or the base of a session that keeps its connection.
// The statements of a level have its turn one after another, and so has a level within it, from its
// begin to its end.
type Level struct {
	conn      *conn
	parent    *Level // nil for the first level on a connection
	begun     Function
	savepoint string // its name, "" for a transaction and a base
	isBase    bool   // it is no transaction
	turn      turn
	abandoned atomic.Bool // see abandon

	mu    sync.Mutex // guards the fields below
	child *Level
	ended bool
}

// newLevel returns a level on c.
func newLevel(c *conn, f Function) *Level {
	return &Level{conn: c, begun: f, turn: turn{server: c.server}}
}

// maxTries is how often BEGIN is tried that certainly had no effect.
const maxTries = 3

// Begin begins a transaction on a connection of the pool, for f. s is the session that it is part of,
// nil for none. The caller ends it with Commit or Rollback, and then calls Free.
func (h *Home) Begin(ctx context.Context, s *Session, opts driver.TxOptions, f Function) (*Level, error) {
	for try := 1; ; try++ {
		pooled, err := h.AcquireFor(ctx, s, "BEGIN", 0)
		if err != nil {
			return nil, err
		}
		c := h.take(pooled, s)
		err = c.server.BeginTransaction(ctx, ctxsettings.Of(ctx), opts)
		if err == nil {
			pooled.Worked()
			c.inTx, c.options = true, opts
			return newLevel(c, f), nil
		}
		unbegun, isUnbegun := errors.AsType[*serverconn.UnbegunError](err)
		if isUnbegun && try < maxTries {
			ctx = h.Tracer.Repeat(ctx, c.server.Pgx())
		}
		c.free()
		switch {
		case !isUnbegun:
			return nil, err
		case try == maxTries:
			return nil, unbegun.Unwrap()
		}
	}
}

// Run runs a statement on the level's connection when its turn has come. The statement never runs
// elsewhere. The error is ErrEnded after the level's end, ErrLost after the connection's, and ErrBusy
// if something else keeps the connection and does nothing.
func Run[T any](ctx context.Context, l *Level, text string, f func(*serverconn.Conn) (T, error)) (res T, err error) {
	if err := l.enter(ctx, text); err != nil {
		return res, err
	}
	defer l.leave()
	res, err = f(l.conn.server)
	return res, l.conn.settle(err)
}

// enter takes the turn and the wire for a statement.
func (l *Level) enter(ctx context.Context, text string) error {
	c := l.conn
	if !l.isBase && c.server.Controls(text) {
		return errEndsByText
	}
	if err := l.turn.take(ctx); err != nil {
		return err
	}
	err := l.Refusal()
	if err == nil {
		c.wire.Lock()
		if err = c.clearWire(); err == nil {
			c.pooled.Note(text)
			return nil
		}
		c.wire.Unlock()
	}
	l.turn.leave()
	return err
}

// leave ends the turn of a statement.
func (l *Level) leave() {
	l.conn.wire.Unlock()
	l.turn.leave()
	for p := l.parent; p != nil; p = p.parent {
		p.turn.touch()
	}
}

// Refusal returns why the level takes no statement any more, nil if it does.
func (l *Level) Refusal() error {
	if l.Ended() {
		return l.endedError()
	}
	return l.conn.lostNow()
}

// endedError is what a statement gets after the level's end.
func (l *Level) endedError() error {
	if l.isBase {
		return withCause(ErrLost, errors.New("its session has ended"))
	}
	return &endedError{l.begun}
}

// Native takes the turn for native code, which has it until NativeDone.
func (l *Level) Native(
	ctx context.Context, prepare func(*serverconn.Conn) (*pgx.Conn, error),
) (*pgx.Conn, error) {
	if err := l.enter(ctx, "native code"); err != nil {
		return nil, err
	}
	conn, err := prepare(l.conn.server)
	if err != nil {
		defer l.leave()
		return nil, l.conn.settle(err)
	}
	l.conn.native.Store(true)
	l.turn.keep("native code", l.conn.server.AtWork)
	return conn, nil
}

// NativeDone ends the turn of native code, which has ended with err. Code that leaves rows open loses
// the connection: nothing else could close them.
func (l *Level) NativeDone(err error) error {
	defer l.leave()
	c := l.conn
	c.native.Store(false)
	err = c.settle(c.server.RawFailed(err))
	if c.server.Busy() {
		c.cut()
		c.server.Close()
		return errors.Join(err, c.settle(errNativeRows))
	}
	return err
}

// Nest begins a level within l, for f: a savepoint, or on a session's connection a transaction with the
// settings that are wanted. It has the turn of l until it ends.
func (l *Level) Nest(
	ctx context.Context, want *ctxsettings.Settings, opts driver.TxOptions, f Function,
) (*Level, error) {
	if err := l.enter(ctx, "SAVEPOINT"); err != nil {
		return nil, err
	}
	inner, err := l.nest(ctx, want, opts, f)
	l.conn.wire.Unlock()
	if err == nil {
		err = l.adopt(inner)
	}
	if err != nil {
		l.turn.leave()
		return nil, err
	}
	l.turn.keep("the nested transaction of "+f.String(), inner.turn.runs)
	return inner, nil
}

// nest begins a level on the server. The caller has the wire.
func (l *Level) nest(
	ctx context.Context, want *ctxsettings.Settings, opts driver.TxOptions, f Function,
) (*Level, error) {
	c := l.conn
	inner := newLevel(c, f)
	inner.parent = l
	if !c.inTx {
		if c.server.InTransaction() {
			return nil, withCause(ErrOptions, errors.New("a transaction that a text has begun is open"))
		}
		if err := c.server.BeginTransaction(ctx, want, opts); err != nil {
			return nil, c.settle(err)
		}
		c.inTx, c.options = true, opts
		c.forgive()
		return inner, nil
	}
	if strength(opts.Isolation) > strength(c.options.Isolation) {
		return nil, withCause(ErrOptions, errors.New("its isolation level is higher than the outer transaction's"))
	}
	if err := c.server.Nests(want); err != nil {
		return nil, err
	}
	c.savepoints++
	inner.savepoint = "pgsafe_" + strconv.Itoa(c.savepoints)
	text := "SAVEPOINT " + inner.savepoint
	if opts.ReadOnly && !c.options.ReadOnly {
		// The server ends this with the savepoint (xact.c, CommitSubTransaction, AbortSubTransaction).
		text += "; SET TRANSACTION READ ONLY"
	}
	if err := c.exec(ctx, text); err != nil {
		return nil, err
	}
	return inner, nil
}

// adopt makes inner the level within l, unless l has ended meanwhile: its end waits for the turn, and
// undoes the savepoint.
func (l *Level) adopt(inner *Level) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return l.endedError()
	}
	l.child = inner
	return nil
}

// strength orders the isolation levels by what the server makes of them: it has three.
func strength(level driver.IsolationLevel) int {
	switch sql.IsolationLevel(level) {
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		return 1
	case sql.LevelSerializable, sql.LevelLinearizable:
		return 2
	}
	return 0
}

// Ended reports whether the level takes no statement any more.
func (l *Level) Ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// IsBase reports whether the level is no transaction, but the base of a session with session state.
func (l *Level) IsBase() bool { return l.isBase }

// Trace returns ctx with the span of the level's transaction.
func (l *Level) Trace(ctx context.Context) context.Context {
	return l.conn.home.Tracer.InTransaction(ctx, l.conn.server.Pgx())
}
