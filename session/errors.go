package session

import (
	"context"
	"errors"
	"fmt"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

var (
	// ErrEnded is returned, wrapped, when something runs with the context of a session or a transaction that is over. Its
	// message names the line on which its function begins. It is errors.Is(err, context.Canceled) too.
	ErrEnded = errors.New("session: it has ended")

	// ErrBusy is returned, wrapped, when a statement cannot run because something else has the connection and would have to
	// end first: rows that are still open, or a transaction. Its message names the line that opened the rows, or on which
	// the transaction's function begins. It occurs
	// within a transaction, and in a session whose connection carries state.
	ErrBusy = errors.New("session: the connection is busy")

	// ErrNested is returned by BeginTx within Tx: a *sql.Tx cannot be part of another. Use Tx, which nests.
	ErrNested = errors.New("session: BeginTx within a transaction of Tx: use Tx, which nests")

	// ErrRolledBack is returned, wrapped, by Tx when the server rolled the transaction back instead of committing it: a
	// statement in it had failed, and the function returned nil nevertheless; or its connection was lost, and the server says
	// that the COMMIT did not take place. That failure is wrapped too, where it is known.
	ErrRolledBack = errors.New("session: the transaction was rolled back and not committed")

	// ErrCommitUnknown is returned, wrapped, when the connection broke after COMMIT was sent and before its answer came:
	// the transaction may have been committed. Such a transaction is never run again by itself; see WithCommitCheck.
	ErrCommitUnknown = serverconn.ErrCommitUnknown
)

// endedSession is the error of what comes after the end of a session.
type endedSession session

func (e *endedSession) Error() string { return endedMessage("session", e.from) }

// GoString keeps %#v from showing the session, which knows the texts that ran in it.
func (e *endedSession) GoString() string { return e.Error() }

// Is makes it both what it is to us and what it is to code that knows contexts only.
func (e *endedSession) Is(target error) bool { return target == ErrEnded || target == context.Canceled }

// endedTransaction is endedSession for a transaction, and for one that is nested in another.
type endedTransaction struct{ from function }

func (e *endedTransaction) Error() string { return endedMessage("transaction", e.from) }

func (e *endedTransaction) Is(target error) bool {
	return target == ErrEnded || target == context.Canceled
}

func endedMessage(what string, from origin) string {
	return fmt.Sprintf("session: the %s %s has ended", what, from.begun())
}

// busyError tells what is in the way.
type busyError struct {
	what string
	from fmt.Stringer
}

func (e *busyError) Error() string {
	return fmt.Sprintf("%v: the %s opened at %s must end first", ErrBusy, e.what, e.from)
}

func (e *busyError) Is(target error) bool { return target == ErrBusy }

// outcomeError is a COMMIT that did not succeed: what is ErrRolledBack or ErrCommitUnknown.
type outcomeError struct {
	what      error
	causes    []error
	repeating bool // the transaction may run again
}

func (e *outcomeError) Error() string {
	if err := errors.Join(e.causes...); err != nil {
		return e.what.Error() + ": " + err.Error()
	}
	return e.what.Error()
}

func (e *outcomeError) Unwrap() []error { return append([]error{e.what}, e.causes...) }

// stateOf returns the SQLSTATE of the server's error in err, "" if there is none. The drivers for PostgreSQL all have
// this method on their errors.
func stateOf(err error) string {
	var withState interface{ SQLState() string }
	if errors.As(err, &withState) {
		return withState.SQLState()
	}
	return ""
}

// lostConflict tells whether err is one of the two that a transaction meets only because of another (PostgreSQL's
// manual, 13.5).
func lostConflict(err error) bool {
	state := stateOf(err)
	return state == "40001" || state == "40P01"
}
