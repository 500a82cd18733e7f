package pgsafe

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/pool"
	"github.com/pgsafe/pgsafe/internal/scope"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// Conn is a handle, which is what database/sql holds. It has a connection of the pool only while it is in use: from its
// first statement until database/sql gets it back. A *sql.Conn and a *sql.Tx keep theirs until they are closed.
type Conn struct {
	connector *Connector
	pooled    *pool.Conn       // nil while the handle has no connection
	server    *serverconn.Conn // the same connection

	place    scope.Place           // where its statements run
	inherits *ctxsettings.Settings // what a statement runs with whose context has no settings
	inTx     bool                  // database/sql has a transaction on it
	isRaw    bool                  // native code has had the connection
	isBrief  bool                  // the use ends with its statement: see begin
	isLost   bool                  // a use that may go on has lost its connection
	rows     rows                  // of the query under way
	openRows int                   // how many sets of rows are open
	born     time.Time
	waited   time.Duration // for the pool's first connection, when the handle was made
	unused   time.Time     // since when database/sql keeps it idle
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

// bind makes sure that the handle has a connection. It reports whether the handle had none before: only then may a
// statement run again on another one. text is what the caller is about to run.
func (h *Conn) bind(ctx context.Context, text string) (fresh bool, err error) {
	h.begin()
	switch {
	case h.isLost: // database/sql gives the handle up, and so does a *sql.Conn
		h.isLost = false
		return false, driver.ErrBadConn
	case h.pooled != nil:
		h.pooled.Note(text)
		return false, nil
	}
	if h.place.Join(ctx) != nil {
		return false, nil
	}
	c, err := h.place.Acquire(ctx, text, h.waited)
	h.waited = 0
	if err != nil {
		return false, err
	}
	h.pooled, h.server = c, c.Server.(*serverconn.Conn)
	return true, nil
}

// unbind gives back what the handle has.
func (h *Conn) unbind() {
	c, wasNative := h.pooled, h.isRaw
	h.pooled, h.server, h.inTx, h.isRaw = nil, nil, false, false
	h.place.Release(c, wasNative)
}

// maxTries is how often a statement is tried that certainly never began.
const maxTries = 3

// run is attempt for a statement of the application, which counts in its session.
func run[T any](ctx context.Context, h *Conn, text string, f func(*serverconn.Conn) (T, error)) (T, error) {
	began := h.place.Began()
	res, err := attempt(ctx, h, text, f)
	h.place.Ran(text, began)
	return res, err
}

// attempt runs a statement where its context belongs: on the connection of its transaction, else on the handle's own.
// If the handle had none, and the connection that it got turns out to be dead before the statement began, another one
// is tried.
func attempt[T any](ctx context.Context, h *Conn, text string, f func(*serverconn.Conn) (T, error)) (res T, err error) {
	before := h.inherits
	for try := 1; ; try++ {
		fresh, err := h.bind(ctx, text)
		switch {
		case err != nil:
			return res, err
		case h.place.Level() != nil:
			res, err = scope.Run(ctx, h.place.Level(), text, f)
			h.refused(err, before)
			return res, err
		}
		res, err = f(h.server)
		h.refused(err, before)
		if err == nil {
			h.pooled.Worked()
			return res, nil
		}
		unbegun, isUnbegun := errors.AsType[*serverconn.UnbegunError](err)
		switch {
		case isUnbegun && h.rows.isOpen():
			return res, unbegun.Kept() // a *sql.Conn waits for its rows before it closes (Conn.close)
		case !fresh || !isUnbegun:
			return res, err
		case try == maxTries:
			return res, unbegun.Unwrap() // database/sql would try as often again with driver.ErrBadConn
		}
		ctx = h.connector.tracer.Repeat(ctx, h.server.Pgx())
		h.unbind()
	}
}

// settings returns what a statement runs under. One of a *sql.Conn whose context has no settings runs
// under the settings of the use, unless it may belong to another use.
func (h *Conn) settings(ctx context.Context) *ctxsettings.Settings {
	if s := ctxsettings.Of(ctx); s != nil || !h.connector.uses.Shown() {
		h.inherits = s
	}
	return h.inherits
}

// refused makes the next statement inherit the settings from before, if a transaction under way has refused others.
func (h *Conn) refused(err error, before *ctxsettings.Settings) {
	if err != nil && errors.Is(err, serverconn.ErrOtherSettings) {
		h.inherits = before
	}
}

// ExecContext runs a statement without rows.
func (h *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	args = h.connector.commented(ctx, args)
	res, err := run(ctx, h, query, func(s *serverconn.Conn) (driver.Result, error) {
		return s.Exec(ctx, h.settings(ctx), query, args)
	})
	h.settle()
	return res, err
}

// QueryContext runs a statement with rows.
func (h *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	args = h.connector.commented(ctx, args)
	return h.query(ctx, query, func(s *serverconn.Conn) (*stdRows, error) {
		return s.Query(ctx, h.settings(ctx), query, args)
	})
}

// query runs a statement with rows.
func (h *Conn) query(
	ctx context.Context, text string, f func(*serverconn.Conn) (*stdRows, error),
) (driver.Rows, error) {
	rows, err := run(ctx, h, text, func(s *serverconn.Conn) (driver.Rows, error) {
		std, err := f(s)
		switch {
		case err != nil:
			return nil, err
		case h.place.Level() != nil:
			return h.place.Level().Rows(ctx, text, std, h.onRowsClosed()), nil
		}
		return h.lendRows(ctx, std), nil
	})
	if err != nil {
		h.settle()
		return nil, err
	}
	return rows, nil
}

// PrepareContext returns a statement, which is a text. The server is asked once for each text, for its parameters and
// whether it is sound.
func (h *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	inputs, known := h.connector.texts.Get(query)
	if known {
		return &stmt{h, query, inputs}, nil
	}
	inputs, err := attempt(ctx, h, query, func(s *serverconn.Conn) (int, error) {
		return s.Prepare(ctx, h.settings(ctx), query)
	})
	h.settle()
	if err != nil {
		return nil, err
	}
	h.connector.texts.Put(query, inputs)
	return &stmt{h, query, inputs}, nil
}

// Prepare is PrepareContext without a context.
func (h *Conn) Prepare(query string) (driver.Stmt, error) {
	return h.PrepareContext(context.Background(), query)
}

// BeginTx begins a transaction. Within a transaction of package session it is a savepoint.
func (h *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if h.begin(); h.pooled == nil && h.place.Join(ctx) != nil {
		return h.nest(ctx, opts)
	}
	_, err := attempt(ctx, h, "BEGIN", func(s *serverconn.Conn) (struct{}, error) {
		return struct{}{}, s.BeginTransaction(ctx, h.settings(ctx), opts)
	})
	if err != nil {
		h.settle()
		return nil, err
	}
	h.inTx = true
	h.place.Opened(scope.LeftTransaction)
	return &tx{h, ctx}, nil
}

// Begin is BeginTx without a context.
func (h *Conn) Begin() (driver.Tx, error) {
	return h.BeginTx(context.Background(), driver.TxOptions{})
}

// Ping asks the server for a sign of life.
func (h *Conn) Ping(ctx context.Context) error {
	_, err := attempt(ctx, h, "a ping", func(s *serverconn.Conn) (struct{}, error) {
		return struct{}{}, s.Ping(ctx)
	})
	h.settle()
	return err
}

// CheckNamedValue lets pgx see each argument as it is.
func (h *Conn) CheckNamedValue(*driver.NamedValue) error { return nil }

// Conn returns the pgx connection, for use within sql.Conn.Raw. It is nil only if none could be had; Raw returns the
// reason.
func (h *Conn) Conn() *pgx.Conn {
	conn, err := h.native()
	if err != nil {
		return nil
	}
	return conn
}

// native lends the connection to native code. sql.Conn.Raw has no context.
func (h *Conn) native() (*pgx.Conn, error) {
	ctx := context.Background()
	prepare := func(s *serverconn.Conn) (*pgx.Conn, error) { return s.Pgx(), s.Raw(ctx, h.settings(ctx)) }
	if conn := h.place.NativeConn(); conn != nil {
		return conn, nil
	}
	if h.begin(); h.pooled == nil && h.place.Join(ctx) != nil {
		return h.place.Native(ctx, prepare)
	}
	conn, err := attempt(ctx, h, "native code", prepare)
	h.isRaw = h.isRaw || err == nil
	return conn, err
}

// ResetSession is called by database/sql before it uses the handle again. The handle still has a connection if a layer
// hides IsValid.
func (h *Conn) ResetSession(ctx context.Context) error {
	h.unbind()
	h.reused()
	h.place.Take(ctx)
	h.inherits, h.isLost, h.waited = ctxsettings.Of(ctx), false, 0
	return nil
}

// IsValid is called by database/sql when it gets the handle back. It is always true: a handle without a connection can
// be used again.
func (h *Conn) IsValid() bool {
	h.connector.uses.Show()
	h.unbind()
	h.place.Forget()
	h.inherits, h.isLost, h.unused = nil, false, time.Now()
	return true
}

// Close ends the handle. database/sql calls IsValid first, unless a statement or the application has called the
// connection bad (DB.putConn). Where a layer hides IsValid, the connection's state decides whether it is.
func (h *Conn) Close() error {
	switch {
	case h.place.Level() != nil: // its connection is not the handle's
	case h.pooled == nil:
		h.retire()
		return nil
	case h.connector.uses.Shown(), h.isRaw:
		h.server.Close()
	}
	h.unbind()
	return nil
}
