package serverconn

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/canceler"
)

// ErrCommitUnknown is the error of a COMMIT whose connection broke after it was sent and before its
// answer came.
var ErrCommitUnknown = errors.New("session: the outcome of COMMIT is unknown")

// commitUnknownError is an ErrCommitUnknown with its cause.
type commitUnknownError struct{ cause error }

// Error says how the connection broke.
func (e *commitUnknownError) Error() string { return ErrCommitUnknown.Error() + ": " + e.cause.Error() }

// Unwrap returns what it is, and how the connection broke.
func (e *commitUnknownError) Unwrap() []error { return []error{ErrCommitUnknown, e.cause} }

// Commit commits the transaction that was begun with ctx. It is pgx.ErrTxCommitRollback if the
// server rolled back instead, as it does after an error, and ErrCommitUnknown, wrapped, if the
// connection broke after COMMIT was sent. If ctx ends meanwhile, the server still has the cancel
// timeout to answer.
func (c *Conn) Commit(ctx context.Context) error {
	if err := c.ready(); err != nil {
		if errors.Is(err, ErrBusy) {
			c.Close() // or the transaction would outlive its sql.Tx
		}
		return err
	}
	if c.listen(ctx); c.pgx.IsClosed() {
		return c.whyUnsent()
	}
	tag, err := c.pgx.Exec(canceler.Patient(ctx, c.config.CancelTimeout), "commit")
	if err == nil && tag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	if err != nil && !c.pgx.IsClosed() && c.InTransaction() {
		_ = c.Rollback(ctx) // COMMIT was not sent; Rollback closes the connection if it fails
	}
	if err != nil && c.pgx.IsClosed() {
		c.cause = err
		if !c.neverBegan(err) {
			return &commitUnknownError{err}
		}
	}
	return err
}

// Rollback rolls back the transaction that was begun with ctx. It does not depend on ctx:
// database/sql rolls back when that ends, and pgx's own driver would close the connection for it.
// It takes at most the cancel timeout if ctx has ended. If it fails the connection is closed, upon
// which the server rolls back.
func (c *Conn) Rollback(ctx context.Context) error {
	limit := closeTimeout
	if ctx.Err() != nil {
		limit = cmp.Or(c.config.CancelTimeout, canceler.DefaultTimeout)
	}
	within, cancel := context.WithTimeout(canceler.Patient(context.WithoutCancel(ctx), 0), limit)
	defer cancel()
	err := c.ready()
	if err == nil {
		_, err = c.pgx.Exec(within, "rollback")
	}
	if err != nil {
		c.Close()
	}
	return err
}
