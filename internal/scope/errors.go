package scope

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// The errors, which package session exports.
var (
	ErrEnded      = errors.New("session: the transaction has ended")
	ErrBusy       = errors.New("session: the transaction's connection is busy")
	ErrLost       = errors.New("session: the connection is lost")
	ErrRolledBack = errors.New("session: the transaction was rolled back")
	ErrOptions    = errors.New("session: not possible within a transaction")
)

// endedError says that a transaction is over.
type endedError struct{ begun Function }

// Error names the transaction's function.
func (e *endedError) Error() string {
	return fmt.Sprintf("session: the transaction begun at %v has ended", e.begun)
}

// Is makes it an error of the context too, for code that knows contexts only.
func (e *endedError) Is(target error) bool { return target == ErrEnded || target == context.Canceled }

// busyError says what is in the way.
type busyError struct{ what string }

// Error says what is in the way, and what to do.
func (e *busyError) Error() string {
	return fmt.Sprintf("%v with %s: use its context, or wait for its end", ErrBusy, e.what)
}

// Is makes it an ErrBusy.
func (e *busyError) Is(target error) bool { return target == ErrBusy }

// causeError is one of the errors above with its cause. It hides a driver.ErrBadConn in the cause:
// database/sql would run the statement elsewhere.
type causeError struct{ what, cause error }

// withCause returns what, because of cause.
func withCause(what, cause error) error {
	if unbegun, ok := errors.AsType[*serverconn.UnbegunError](cause); ok {
		cause = unbegun.Kept()
	}
	return &causeError{what, cause}
}

// Error names both.
func (e *causeError) Error() string {
	if e.cause == nil {
		return e.what.Error()
	}
	return e.what.Error() + ": " + e.cause.Error()
}

// Unwrap returns both.
func (e *causeError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.what}
	}
	return []error{e.what, e.cause}
}

var (
	errEndedByText = errors.New("a text has ended it, and may have committed what came before")
	errEndsByText  = fmt.Errorf("%w: a text that begins or ends one; use session.Tx, which nests", ErrOptions)
	errCut         = errors.New("what ran on it did not end in time")
	errNativeRows  = errors.New("native code has left rows open")
	errTooLong     = errors.New("the rows that are open are too long to be kept in memory: read or close them first")
)
