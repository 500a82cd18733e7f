package pgsafe

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// unbegunError is the error of a statement, outside a transaction, that the server has certainly not begun. database/sql
// takes it for driver.ErrBadConn and repeats the statement, twice on any connection and then on a new one (DB.retry); the
// application sees it only after that, and finds the cause in it.
type unbegunError struct{ cause error }

// Error tells the cause.
func (e *unbegunError) Error() string {
	return "pgsafe: the statement was not begun: " + e.cause.Error()
}

// Unwrap returns the cause.
func (e *unbegunError) Unwrap() error { return e.cause }

// SafeToRetry is what pgconn.SafeToRetry asks.
func (e *unbegunError) SafeToRetry() bool { return true }

// Is makes it a driver.ErrBadConn.
func (e *unbegunError) Is(target error) bool { return target == driver.ErrBadConn }

// errBusy is the error of a statement while the rows of another are open on its connection, in a transaction or on a
// sql.Conn.
var errBusy = errors.New("pgsafe: the connection is busy: the rows of an earlier query are still open")

// failed gives the error of a statement its identity if its connection broke. pgx's stdlib says driver.ErrBadConn, and
// no more, of one that it did not send, and of some that it did: it is the Wire that knows.
func (l *Conn) failed(err error) error {
	conn := l.stdConn.Conn().PgConn()
	if errors.Is(err, driver.ErrBadConn) {
		err = l.phys.whyUnsent()
	}
	if !conn.IsClosed() {
		return err
	}
	l.connector.suspectOthers()
	l.phys.lost = err
	// The status is the last that the server told: that from before the statement.
	if conn.TxStatus() == 'I' && l.phys.wire.NeverBegan(err) {
		l.connector.recovered(recoveredStatement)
		return &unbegunError{err}
	}
	return err
}

// whyUnsent finds the cause of what pgx has left out.
func (ph *physical) whyUnsent() error {
	switch err := ph.wire.Err(); {
	case err != nil:
		return err
	case ph.conn.PgConn().IsBusy():
		return errBusy
	case ph.lost != nil:
		return ph.lost
	}
	return pgconn.ErrConnClosed
}

// endedHarmless is ended for what leaves nothing behind if its connection breaks, even if the server did it: BEGIN,
// PREPARE and a ping.
func (l *Conn) endedHarmless(ctx context.Context, err error) error {
	err = l.ended(ctx, err)
	conn := l.stdConn.Conn().PgConn()
	if err == nil || ctx.Err() != nil || !conn.IsClosed() || conn.TxStatus() != 'I' || errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return &unbegunError{err}
}
