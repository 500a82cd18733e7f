// Package failure says what an error means to the code that decides what to do next.
package failure

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// A Kind is what pgsafe.Kind is, with the same values.
type Kind int

// The kinds of errors. The root package documents them.
const (
	None Kind = iota
	Canceled
	Timeout
	PoolExhausted // no error of this package's knowledge has it
	Unavailable
	Serialization
	Unique
	Constraint
	Auth
	Config
	CommitUnknown // no error of this package's knowledge has it
	Other
)

var names = [...]string{
	"none", "canceled", "timeout", "pool exhausted", "unavailable", "serialization", "unique", "constraint", "auth",
	"config", "commit unknown", "other",
}

// String returns the kind in words.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return names[k]
}

// Of returns the kind of err, looking through wrapping: None if and only if err is nil, Other for
// an error that it does not know. It does not know the errors of the pool, of sessions and of
// connection strings, which the caller has to look for first.
//
// The context's error goes first, because it is the caller's own. The server's word goes before the
// network's: of several servers, one that answered knows more than one that did not. What the
// client demands of a server goes last: another server, which cannot be reached, may meet the
// demand.
func Of(err error) Kind {
	pgErr, fromServer := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return None
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case fromServer:
		return OfServer(pgErr)
	case IsCertificate(err):
		return Config
	}
	if kind := ofNetwork(err); kind != Other {
		return kind
	}
	switch {
	case IsDemand(err):
		return Config
	case IsRole(err):
		return Unavailable
	}
	return Other
}

func ofNetwork(err error) Kind {
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case isNet && netErr.Timeout(), pgconn.Timeout(err):
		return Timeout
	case isNet, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, pgconn.ErrConnClosed):
		return Unavailable
	}
	return Other
}

// Any reports whether is holds for err or for any error in its tree.
func Any(err error, is func(error) bool) bool {
	if err == nil {
		return false
	}
	if is(err) {
		return true
	}
	switch err := err.(type) { //nolint:errorlint // each layer is looked at
	case interface{ Unwrap() error }:
		return Any(err.Unwrap(), is)
	case interface{ Unwrap() []error }:
		for _, cause := range err.Unwrap() {
			if Any(cause, is) {
				return true
			}
		}
	}
	return false
}
