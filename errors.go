package pgsafe

import (
	"context"
	"errors"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/serverconn"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// Kind says what an error means to the code that has to decide what to do next.
type Kind int

// The kinds of errors. Appendix A of PostgreSQL's documentation lists the SQLSTATE codes.
const (
	KindNone          Kind = iota // no error
	KindCanceled                  // the caller cancelled its context
	KindTimeout                   // a deadline passed: the caller's, the server's (57014, 55P03), a connect timeout
	KindPoolExhausted             // no connection became free within the pool's AcquireTimeout
	KindUnavailable               // the server cannot be reached, is starting or stopping, or has no room (08, 57P, 53)
	KindSerialization             // a transaction lost a conflict and may run again (40001, 40P01)
	KindUnique                    // a unique or exclusion constraint was violated (23505, 23P01)
	KindConstraint                // another integrity constraint was violated (class 23)
	KindAuth                      // wrong password, unknown role, not admitted (class 28)
	KindConfig                    // a string, certificate, database name (3D000) or setting is wrong, or a demand such as TLS is not met
	KindCommitUnknown             // a COMMIT whose outcome is not known
	KindOther                     // anything else
)

// String returns the kind in words.
func (k Kind) String() string { return failure.Kind(k).String() }

// Transient reports whether the same unit of work, begun anew, may succeed soon: it is true of
// KindSerialization, KindPoolExhausted and KindUnavailable. It does not say that the failed attempt
// had no effect: a connection that is lost after a statement was sent leaves that open, so repeat
// only what may run twice.
func (k Kind) Transient() bool {
	return k == KindSerialization || k == KindPoolExhausted || k == KindUnavailable
}

// KindOf returns the kind of err, looking through wrapping. It is KindNone if and only if err is
// nil, and KindOther for an error that it does not know, such as sql.ErrNoRows. Of this package's
// and package session's own errors, ErrClosed is KindUnavailable, ErrCertificateExpired, a
// *DSNError and session.ErrSettings are KindConfig, and session.ErrCommitUnknown is
// KindCommitUnknown.
func KindOf(err error) Kind {
	acquireErr, isAcquire := errors.AsType[*AcquireError](err)
	_, isDSN := errors.AsType[*DSNError](err)
	isContext := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	switch {
	case errors.Is(err, serverconn.ErrCommitUnknown):
		return KindCommitUnknown
	case isDSN:
		return KindConfig
	case isContext:
	case isAcquire:
		return acquireErr.kind()
	case errors.Is(err, ctxsettings.Err):
		return KindConfig
	case errors.Is(err, ErrClosed):
		return KindUnavailable
	}
	return Kind(failure.Of(err))
}

// SQLState returns the five-character SQLSTATE of the server's error in err, or "" if there is
// none.
func SQLState(err error) string { return sqlstate.Of(err) }
