package pgsafe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/session"
)

// Kind says what an error means to the code that has to decide what to do next.
type Kind int

// The kinds of errors. SQLSTATE codes are those of PostgreSQL's appendix A.
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
	KindConfig                    // a connection string, a certificate, a database name (3D000) or a setting is wrong, or TLS or another demand is not met
	KindCommitUnknown             // a COMMIT whose outcome is not known
	KindOther                     // anything else
)

var kindNames = [...]string{
	"none", "canceled", "timeout", "pool exhausted", "unavailable", "serialization", "unique", "constraint", "auth",
	"config", "commit unknown", "other",
}

// String returns the kind in words.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// Retryable reports whether the same unit of work, begun anew, may succeed soon: it is true of KindSerialization,
// KindPoolExhausted and KindUnavailable. It does not say that the failed attempt had no effect: a connection that
// is lost after a statement was sent leaves that open, so repeat only what may run twice.
func (k Kind) Retryable() bool {
	return k == KindSerialization || k == KindPoolExhausted || k == KindUnavailable
}

// KindOf tells the kind of err, looking through wrapping. It is KindNone if and only if err is nil, and KindOther
// for what it does not know.
func KindOf(err error) Kind {
	if err == nil {
		return KindNone
	}
	var (
		dsnErr     *DSNError
		acquireErr *AcquireError
		pgErr      *pgconn.PgError
	)
	switch {
	case errors.Is(err, session.ErrCommitUnknown):
		return KindCommitUnknown
	case errors.As(err, &dsnErr):
		return KindConfig
	case errors.Is(err, context.Canceled):
		return KindCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return KindTimeout
	case errors.As(err, &acquireErr):
		return acquireErr.kind()
	case errors.Is(err, session.ErrSettings):
		return KindConfig
	case errors.As(err, &pgErr):
		return kindOfServerError(pgErr)
	case isCertificateError(err):
		return KindConfig
	}
	// A server that cannot be reached goes first: of several attempts, the other may have failed for a server that is
	// as it should be.
	if kind := kindOfNetwork(err); kind != KindOther {
		return kind
	}
	if errors.Is(err, libpq.ErrPeer) || isDemandError(err) {
		return KindConfig
	}
	return KindOther
}

// kindOfState maps a SQLSTATE.
func kindOfState(code string) Kind {
	switch code {
	case "40001", "40P01":
		return KindSerialization
	case "23505", "23P01":
		return KindUnique
	case "57014", "55P03", "25P03", "57P05":
		return KindTimeout
	case "3D000":
		return KindConfig
	}
	switch {
	case strings.HasPrefix(code, "23"):
		return KindConstraint
	case strings.HasPrefix(code, "28"):
		return KindAuth
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "57P"), strings.HasPrefix(code, "53"):
		return KindUnavailable
	}
	return KindOther
}

func isCertificateError(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.Is(err, ErrCertificateExpired) || isAlert(err) || errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &invalid)
}

// demands are how pgconn's errors begin that say that the server is not what a keyword demands. They have no names.
var demands = [...]string{
	"server refused TLS connection", "channel binding required but ", "sslcertmode check failed: ", "require_auth check failed: ",
}

// isDemandError reports whether err is one of them, or wraps one.
func isDemandError(err error) bool {
	for _, demand := range demands {
		if strings.HasPrefix(err.Error(), demand) {
			return true
		}
	}
	switch err := err.(type) { //nolint:errorlint // each layer is looked at
	case interface{ Unwrap() error }:
		cause := err.Unwrap()
		return cause != nil && isDemandError(cause)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), isDemandError)
	}
	return false
}

func kindOfNetwork(err error) Kind {
	var netErr net.Error
	switch {
	case errors.As(err, &netErr) && netErr.Timeout(), pgconn.Timeout(err):
		return KindTimeout
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, pgconn.ErrConnClosed), errors.Is(err, ErrClosed):
		return KindUnavailable
	}
	return KindOther
}

// commitUnknownError is the error of a COMMIT that was sent on a connection which broke before the answer came.
type commitUnknownError struct{ cause error }

// Error tells how the connection broke.
func (e *commitUnknownError) Error() string {
	return session.ErrCommitUnknown.Error() + ": " + e.cause.Error()
}

// Unwrap returns what it is, and how the connection broke.
func (e *commitUnknownError) Unwrap() []error { return []error{session.ErrCommitUnknown, e.cause} }

// SQLState returns the five-character SQLSTATE of the server's error in err, or "" if there is none.
func SQLState(err error) string {
	var withState interface{ SQLState() string }
	if errors.As(err, &withState) {
		return withState.SQLState()
	}
	return ""
}

// AcquireError says that no connection could be had in time, and who has them.
//
// If the caller's context ended the wait, errors.Is(err, ctx.Err()) holds. If the pool's AcquireTimeout did, it is
// KindTimeout while connections were being opened below the cap, and else KindPoolExhausted.
type AcquireError struct {
	Pool        string        // the pool's name, that of its database
	InUse       int           // connections at work, parked ones left out
	Max         int           // the cap, 0 for none
	Connecting  int           // connections being opened
	Waiting     int           // callers that wanted one, this one included
	LongestHold time.Duration // how long the one in longest use has been
	cause       error         // the caller's context's error, nil if that had not ended
}

// Error is one line: pool "orders": 50 of 50 in use, 12 waiting, longest held 4.2s.
func (e *AcquireError) Error() string {
	limit := "in use, no cap"
	if e.Max > 0 {
		limit = fmt.Sprintf("of %d in use", e.Max)
	}
	reason := "no connection in time"
	if e.cause != nil {
		reason = e.cause.Error()
	}
	return fmt.Sprintf("pgsafe: pool %q: %d %s, %d waiting, longest held %v: %s",
		e.Pool, e.InUse, limit, e.Waiting, e.LongestHold.Round(100*time.Millisecond), reason)
}

// Unwrap returns the error of the caller's context, if that ended the wait.
func (e *AcquireError) Unwrap() error { return e.cause }

// Timeout is true if time ran out, as net.Error's is.
func (e *AcquireError) Timeout() bool {
	return e.cause == nil || errors.Is(e.cause, context.DeadlineExceeded)
}

func (e *AcquireError) kind() Kind {
	// At the very moment of the error one may be on its way from one user to the next.
	if e.Max > 0 && (e.InUse >= e.Max || e.Connecting == 0) {
		return KindPoolExhausted
	}
	return KindTimeout
}
