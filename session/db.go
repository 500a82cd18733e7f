package session

import (
	"context"
	"database/sql"
)

// DB is a handle on a *sql.DB whose methods find in their context what they belong to. It is safe for concurrent use,
// and has no Close: the *sql.DB is the application's.
type DB struct {
	sql     *sql.DB
	options options
	pool    pool // nil if the driver is not pgsafe's
	holds   *holds
	told    *told
}

// Wrap returns a handle on db. Several handles on one *sql.DB see the same sessions.
func Wrap(db *sql.DB, opts ...Option) *DB {
	d := &DB{sql: db, options: newOptions(opts)}
	d.holds = &holds{linger: d.options.linger}
	d.told = newTold(d.options)
	d.pool, _ = db.Driver().(pool)
	if d.pool != nil {
		d.yieldToWaiters()
	}
	return d
}

// Unwrap returns the *sql.DB.
func (db *DB) Unwrap() *sql.DB { return db.sql }

// ExecContext runs a statement without returning rows, in the transaction or the session of ctx if it has one. Its
// errors are those of *sql.DB, ErrEnded and ErrBusy.
func (db *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	switch s := db.scopeOf(ctx); {
	case s == nil:
		return db.sql.ExecContext(ctx, query, args...)
	case s.level != nil:
		return s.level.exec(ctx, query, args)
	default:
		return s.session.exec(ctx, query, args)
	}
}

// QueryContext runs a statement that returns rows, in the transaction or the session of ctx if it has one. The rows are
// closed when that ends, if they were not before. Its errors are those of *sql.DB, ErrEnded and ErrBusy.
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	switch s := db.scopeOf(ctx); {
	case s == nil:
		return db.sql.QueryContext(ctx, query, args...)
	case s.level != nil:
		return s.level.query(ctx, here(), query, args)
	default:
		return s.session.query(ctx, here(), query, args)
	}
}

// QueryRowContext is QueryContext for at most one row. It never returns nil: Scan returns the error.
func (db *DB) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	switch s := db.scopeOf(ctx); {
	case s == nil:
		return db.sql.QueryRowContext(ctx, query, args...)
	case s.level != nil:
		return s.level.queryRow(ctx, here(), query, args)
	default:
		return s.session.queryRow(ctx, here(), query, args)
	}
}

// PrepareContext prepares a statement. In a transaction it belongs to that and ends with it, and does not wait for other
// statements: use it when none runs. Else it belongs to the *sql.DB: it holds no connection, outlives the session,
// and its calls go to the pool.
func (db *DB) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	switch s := db.scopeOf(ctx); {
	case s == nil:
		return db.sql.PrepareContext(ctx, query)
	case s.level != nil:
		return s.level.prepare(ctx, query)
	default:
		return s.session.prepare(ctx, query)
	}
}

// BeginTx begins a transaction of database/sql, for libraries that need one (gorm, bun). It has a connection of its
// own, and is no part of ctx: only what is run through the *sql.Tx is in it. It is rolled back when ctx ends, and so
// with the session at the latest. Within Tx it is ErrNested.
func (db *DB) BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	switch s := db.scopeOf(ctx); {
	case s == nil:
		return db.sql.BeginTx(ctx, opts)
	case s.level != nil:
		return nil, ErrNested
	default:
		return s.session.beginTx(ctx, here(), opts)
	}
}

// failedRow returns a row whose Scan returns err. Only database/sql can make one: it asks for no connection with a
// context that is done (DB.conn), and returns that context's error.
func (db *DB) failedRow(ctx context.Context, err error) *sql.Row {
	return db.sql.QueryRowContext(failedContext{ctx, err}, "")
}

type failedContext struct {
	context.Context
	err error
}

var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (failedContext) Done() <-chan struct{} { return closedChannel }
func (f failedContext) Err() error          { return f.err }
