package failure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// A Reason says in one word why a dial or a statement failed. It is the error.type of a failure
// that has no SQLSTATE, so there are few, and none contains data.
type Reason string

// The reasons for which a dial fails.
const (
	ReasonRefused            Reason = "refused"             // nothing listens at the address
	ReasonReset              Reason = "reset"               // the connection broke before the login had ended
	ReasonDNS                Reason = "dns"                 // the name has no address
	ReasonTLS                Reason = "tls"                 // no TLS, or a certificate that one side does not take
	ReasonAuth               Reason = "auth"                // wrong password, unknown role, not admitted
	ReasonNotPrimary         Reason = "not_primary"         // no server has the role that is asked for
	ReasonTooMany            Reason = "too_many"            // the server has no room for more connections
	ReasonCertificateExpired Reason = "certificate_expired" // the client's, or the server's
	ReasonNotReady           Reason = "not_ready"           // the server starts, stops or recovers
	ReasonConfig             Reason = "config"              // no such database, or a setting is refused
)

// The reasons for which a statement fails besides, without a SQLSTATE.
const (
	ReasonConnectionLost Reason = "connection_lost"
	ReasonPoolExhausted  Reason = "pool_exhausted" // no connection became free in time
	ReasonClosed         Reason = "closed"         // the pool is closed
	ReasonBusy           Reason = "busy"           // rows of an earlier statement are open
	ReasonArgument       Reason = "argument"       // an argument cannot be encoded, or their number is wrong
	ReasonRolledBack     Reason = "rolled_back"    // COMMIT became ROLLBACK
	ReasonCommitUnknown  Reason = "commit_unknown" // COMMIT was sent, no answer came
)

// The reasons of both.
const (
	ReasonTimeout Reason = "timeout"
	ReasonOther   Reason = "other"
)

// ErrClosed is pgsafe.ErrClosed.
var ErrClosed = errors.New("pgsafe: connector is closed")

// ReasonOf returns why a statement failed with err, or a call that never got a connection. An error
// of the server has a SQLSTATE, which says more.
func ReasonOf(err error) Reason {
	if own, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok && own.Reason() != "" {
		return Reason(own.Reason())
	}
	switch {
	case errors.Is(err, ErrClosed):
		return ReasonClosed
	case errors.Is(err, pgx.ErrTxCommitRollback):
		return ReasonRolledBack
	case Any(err, isBusy):
		return ReasonBusy
	case Any(err, isArgument):
		return ReasonArgument
	case Any(err, isOfDial):
		return DialReason(err)
	}
	switch ofNetwork(err) {
	case Timeout:
		return ReasonTimeout
	case Unavailable:
		return ReasonConnectionLost
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return ReasonTimeout
	}
	return ReasonOther
}

// isBusy recognises a connection that is in use (pgconn.go, PgConn.lock). pgconn does not export
// the error.
func isBusy(err error) bool { return err.Error() == "conn busy" }

// isArgument recognises an argument that pgx cannot encode, or a wrong number of them
// (extended_query_builder.go, Build; conn.go, Conn.Query). pgx does not export the errors.
func isArgument(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "failed to encode args[") || text == "mismatched param and argument count" ||
		strings.HasPrefix(text, "expected ") && strings.Contains(text, " arguments, got ")
}

// isOfDial recognises what fails while a connection is made, and never later.
func isOfDial(err error) bool {
	switch err := err.(type) { //nolint:errorlint // Any looks at each layer
	case *pgconn.ConnectError, *net.DNSError:
		return true
	case syscall.Errno:
		return reasonOfErrno(err) == ReasonRefused
	}
	return IsDemand(err) || IsRole(err) || IsCertificate(err)
}

// DialReason returns why a dial failed with err. Of several servers, one that answered knows more
// than one that did not.
func DialReason(err error) Reason {
	pgErr, fromServer := errors.AsType[*pgconn.PgError](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case fromServer:
		return dialReasonOfServer(pgErr)
	case isExpired(err):
		return ReasonCertificateExpired
	case IsCertificate(err), is[tls.RecordHeaderError](err):
		return ReasonTLS
	case IsDemand(err):
		return reasonOfDemand(err)
	case IsRole(err):
		return ReasonNotPrimary
	}
	errno, isErrno := errors.AsType[syscall.Errno](err)
	switch {
	case isDNS:
		return ReasonDNS
	case errors.Is(err, context.DeadlineExceeded), ofNetwork(err) == Timeout:
		return ReasonTimeout
	case isErrno && reasonOfErrno(errno) != ReasonOther:
		return reasonOfErrno(errno)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ReasonReset
	case Any(err, func(err error) bool { return strings.HasPrefix(err.Error(), "tls: ") }):
		return ReasonTLS
	}
	return ReasonOther
}

func dialReasonOfServer(err *pgconn.PgError) Reason {
	switch err.Code {
	case sqlstate.TooManyConnections:
		return ReasonTooMany
	case sqlstate.AdminShutdown, sqlstate.CrashShutdown, sqlstate.CannotConnectNow:
		return ReasonNotReady
	}
	switch kind := OfServer(err); {
	case kind == Auth:
		return ReasonAuth
	case kind == Config:
		return ReasonConfig
	case kind == Timeout:
		return ReasonTimeout
	case IsPoolerWait(err):
		return ReasonTooMany
	}
	return ReasonOther
}

// isExpired recognises a certificate that is over: the client's, by the server's alert, or the
// server's.
func isExpired(err error) bool {
	if errors.Is(err, ErrCertificateExpired) {
		return true
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && IsAlert(op) && strings.HasSuffix(op.Err.Error(), "expired certificate") // crypto/tls, alertText
}

// reasonOfDemand sorts the demands of IsDemand.
func reasonOfDemand(err error) Reason {
	aboutLogin := Any(err, func(err error) bool {
		isPeer := err == libpq.ErrPeer //nolint:errorlint // Any looks at each layer
		return isPeer || strings.HasPrefix(err.Error(), "require_auth check failed: ")
	})
	if aboutLogin {
		return ReasonAuth
	}
	return ReasonTLS
}
