package pgsafe

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/guard"
)

// cancelWithin sets up how statements are ended whose context is done. within is nil for the default.
func (c *Connector) cancelWithin(within *time.Duration) error {
	c.patience = guard.DefaultCancelTimeout
	if within != nil {
		c.patience = *within
	}
	if c.patience < 0 {
		return driverError(CodeValue, "pgsafe_cancel_timeout", "the time is below zero",
			"use zero to close the connection of a cancelled statement at once")
	}
	if c.patience > 0 && !c.native {
		c.canceler = guard.NewCanceler(c.patience)
		c.canceler.OnRequest = c.canceled
	}
	return nil
}

// clearPooled is asked by the pool before it hands out a connection, and drops it with false.
func clearPooled(_ context.Context, conn *pgx.Conn) (bool, error) {
	return guard.HandlerOf(conn.PgConn()).Clear() == nil, nil
}

// canceledError is what a statement ends with that its context has ended: errors.Is the context's error, errors.As the
// server's *pgconn.PgError (57014) if it was sent, and pgconn.Timeout where pgx's own would be. It is neither
// SafeToRetry nor driver.ErrBadConn.
type canceledError struct {
	context error // that of the context
	pgx     error // pgx's error for a context that ran out of time, nil for others
	cause   error // the server's error, nil if it was told nothing
}

// Error tells why the statement was given up, and what the server said.
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

// ended gives the error of a statement its identity if ctx has ended it. pgx's stdlib says driver.ErrBadConn of a
// statement that it did not send (Conn.ExecContext), which database/sql takes for a broken connection, and which the
// application would see within a transaction.
func (l *Conn) ended(ctx context.Context, err error) error {
	if err == nil || l.state.Load() != leaseHeld { // it got no connection, or did not wait for its own to be reset
		return err
	}
	if ctx.Err() == nil {
		return l.failed(err)
	}
	e := &canceledError{context: ctx.Err()}
	switch {
	case guard.IsCanceled(err):
		e.cause = err
	case !errors.Is(err, driver.ErrBadConn):
		return err
	}
	if errors.Is(e.context, context.DeadlineExceeded) {
		e.pgx = timeoutOf(ctx, l.stdConn.Conn().PgConn())
	}
	return e
}

// timeoutOf returns pgconn's error for ctx, which has run out of time. Its type is pgconn's own; asked to run something
// with such a context it makes one, and sends nothing (newContextAlreadyDoneError). It is nil on a broken connection.
func timeoutOf(ctx context.Context, conn *pgconn.PgConn) error {
	if err := conn.Exec(ctx, "").Close(); pgconn.Timeout(err) {
		return err
	}
	return nil
}

// rollbackContext is what a ROLLBACK runs with whose transaction's context is ctx: that may be done, and often is the
// very reason. No request is sent to cancel it.
func (c *Connector) rollbackContext(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := closeWait
	if ctx.Err() != nil {
		limit = cmp.Or(c.patience, guard.DefaultCancelTimeout)
	}
	return context.WithTimeout(guard.Patient(context.WithoutCancel(ctx), 0), limit)
}
