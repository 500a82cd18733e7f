package serverconn

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// UnbegunError is the error of a statement, outside a transaction, that the server has certainly not begun.
type UnbegunError struct{ cause error }

// Error names the cause.
func (e *UnbegunError) Error() string {
	return "pgsafe: the statement was not begun: " + e.cause.Error()
}

// Unwrap returns the cause.
func (e *UnbegunError) Unwrap() error { return e.cause }

// SafeToRetry is what pgconn.SafeToRetry asks.
func (e *UnbegunError) SafeToRetry() bool { return true }

// Is makes it a driver.ErrBadConn.
func (e *UnbegunError) Is(target error) bool { return target == driver.ErrBadConn }

// Kept returns the error without being a driver.ErrBadConn, at which database/sql closes a *sql.Conn.
func (e *UnbegunError) Kept() error { return &keptError{e} }

// keptError is an UnbegunError that is no driver.ErrBadConn.
type keptError struct{ *UnbegunError }

// Is hides the method of UnbegunError.
func (*keptError) Is(error) bool { return false }

// ErrBusy is the error of a statement while the rows of another one are open on its connection.
var ErrBusy = errors.New("pgsafe: the connection is busy: the rows of an earlier query are still open")

// canceledError is the error of a statement whose context has ended it: errors.Is the context's error, errors.As the
// server's *pgconn.PgError (57014) if there is one, and pgconn.Timeout where pgx's own error would be. It is neither
// SafeToRetry nor driver.ErrBadConn.
type canceledError struct {
	context error // the context's error
	pgx     error // pgx's error for a context that ran out of time, nil for others
	cause   error // the server's error, nil if nothing was sent
}

// Error says why the statement ended, and what the server said.
func (e *canceledError) Error() string {
	if e.cause == nil {
		return e.context.Error()
	}
	return e.context.Error() + ": " + e.cause.Error()
}

// Unwrap returns all that the error is.
func (e *canceledError) Unwrap() []error {
	all := []error{e.context}
	for _, err := range []error{e.pgx, e.cause} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// SafeToRetry is false, whatever pgx's error says of itself: the server may have run the statement.
func (e *canceledError) SafeToRetry() bool { return false }

// Failed gives the error of a statement its identity. If ctx has ended the statement, the error is the context's too.
// If the connection broke and the statement never began, it is an UnbegunError. pgx's stdlib returns
// driver.ErrBadConn, and no cause, for a statement that it did not send (stdlib.Conn.ExecContext).
func (c *Conn) Failed(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil:
		return c.broken(err)
	}
	if c.pgx.IsClosed() {
		c.verdict = max(c.verdict, closedHere)
	}
	e := &canceledError{context: ctx.Err()}
	switch {
	case canceler.IsCanceled(err):
		e.cause = err
	case !errors.Is(err, driver.ErrBadConn):
		return err
	}
	if errors.Is(e.context, context.DeadlineExceeded) {
		e.pgx = timeoutOf(ctx, c.pgx.PgConn())
	}
	return e
}

// timeoutOf returns pgconn's error for ctx, which has run out of time. Its type is pgconn's own. pgconn makes one for a
// statement with such a context, and sends nothing (newContextAlreadyDoneError). It is nil on a broken connection.
func timeoutOf(ctx context.Context, conn *pgconn.PgConn) error {
	if err := conn.Exec(ctx, "").Close(); pgconn.Timeout(err) {
		return err
	}
	return nil
}

// broken gives an error its identity if the connection broke.
func (c *Conn) broken(err error) error {
	pc := c.pgx.PgConn()
	if errors.Is(err, driver.ErrBadConn) {
		err = c.whyUnsent()
	}
	if !pc.IsClosed() {
		return err
	}
	c.cause = err
	// The transaction status is from before the statement.
	if pc.TxStatus() == 'I' && c.neverBegan(err) {
		if c.config.OnUnbegun != nil {
			c.config.OnUnbegun()
		}
		return &UnbegunError{err}
	}
	return err
}

// neverBegan reports whether the server has certainly done nothing for the last request, which failed
// with err.
func (c *Conn) neverBegan(err error) bool { return c.wire.NeverBegan(err) || isEndOfIdleness(err) }

// isEndOfIdleness recognises the server's error for a session that was idle for too long. The server
// looks at that timeout for the last time between reading a request and beginning it (postgres.c,
// PostgresMain).
func isEndOfIdleness(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && failure.IsFatal(pgErr) &&
		(pgErr.Code == sqlstate.IdleSessionTimeout || pgErr.Code == sqlstate.IdleInTransactionSessionTimeout)
}

// whyUnsent finds the cause that pgx's stdlib has left out.
func (c *Conn) whyUnsent() error {
	switch err := c.wire.Err(); {
	case err != nil:
		return err
	case c.pgx.PgConn().IsBusy():
		return ErrBusy
	case c.cause != nil:
		return c.cause
	}
	return pgconn.ErrConnClosed
}

// failedHarmless is Failed for BEGIN, PREPARE and a ping. They leave nothing behind if their
// connection breaks, even if the server ran them.
func (c *Conn) failedHarmless(ctx context.Context, err error) error {
	err = c.Failed(ctx, err)
	pc := c.pgx.PgConn()
	if err == nil || ctx.Err() != nil || !pc.IsClosed() || pc.TxStatus() != 'I' || errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return &UnbegunError{err}
}

// RawFailed gives the error of native code its identity. pgx returns the server's error alone for a statement that its
// context has ended.
func (c *Conn) RawFailed(err error) error {
	if cause := c.cancel.Cause(); cause != nil && canceler.IsCanceled(err) && !errors.Is(err, cause) {
		return &canceledError{context: cause, cause: err}
	}
	return err
}
