package pgsafe

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// stmt is a prepared statement. It is a text that runs through pgx's own cache of statements, on
// whichever connection its handle has. So a new handle costs no round trip, and Close has nothing
// to send.
type stmt struct {
	handle *Conn
	text   string
	inputs int
}

var (
	_ driver.Stmt             = (*stmt)(nil)
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

// NumInput is the number of the statement's parameters.
func (s *stmt) NumInput() int { return s.inputs }

// ExecContext runs the statement without returning rows.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	h := s.handle
	res, err := run(ctx, h, s.text, func(c *serverconn.Conn) (driver.Result, error) {
		return c.ExecPrepared(ctx, h.settings(ctx), s.text, args)
	})
	h.settle()
	return res, stmtFailed(err)
}

// QueryContext runs the statement and returns its rows.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	h := s.handle
	rows, err := h.query(ctx, s.text, func(c *serverconn.Conn) (*stdRows, error) {
		return c.QueryPrepared(ctx, h.settings(ctx), s.text, args)
	})
	return rows, stmtFailed(err)
}

// stmtFailed keeps the cause of a statement that never began on the connection of a *sql.Conn.
// database/sql would close the *sql.Conn at a driver.ErrBadConn, try again, and report
// sql.ErrConnDone (Stmt.ExecContext, Conn.closemuRUnlockCondReleaseConn).
func stmtFailed(err error) error {
	if unbegun, ok := errors.AsType[*serverconn.UnbegunError](err); ok {
		return unbegun.Kept()
	}
	return err
}

// Exec is what driver.Stmt must have; database/sql calls ExecContext.
func (s *stmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.New("pgsafe: Stmt.Exec is not implemented, use ExecContext")
}

// Query is what driver.Stmt must have; database/sql calls QueryContext.
func (s *stmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("pgsafe: Stmt.Query is not implemented, use QueryContext")
}

// Close does nothing: pgx's cache bounds how many statements stay prepared.
func (s *stmt) Close() error { return nil }
