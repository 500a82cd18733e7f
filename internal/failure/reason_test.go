package failure_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// op is an error of the network.
func op(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }

func TestDialReason(t *testing.T) {
	for _, c := range []struct {
		err  error
		want failure.Reason
	}{
		{op(os.NewSyscallError("connect", syscall.ECONNREFUSED)), failure.ReasonRefused},
		{op(os.NewSyscallError("read", syscall.ECONNRESET)), failure.ReasonReset},
		{io.ErrUnexpectedEOF, failure.ReasonReset},
		{&net.DNSError{Name: "db", IsNotFound: true}, failure.ReasonDNS},
		{&net.DNSError{Name: "db", IsTimeout: true}, failure.ReasonDNS},
		{x509.UnknownAuthorityError{}, failure.ReasonTLS},
		{tls.RecordHeaderError{}, failure.ReasonTLS},
		{errors.New("server refused TLS connection"), failure.ReasonTLS},
		{x509.CertificateInvalidError{Reason: x509.Expired}, failure.ReasonCertificateExpired},
		{failure.ErrCertificateExpired, failure.ReasonCertificateExpired},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: expired certificate")}, failure.ReasonCertificateExpired},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, failure.ReasonTLS},
		{libpq.ErrPeer, failure.ReasonAuth},
		{errors.New("require_auth check failed: none"), failure.ReasonAuth},
		{pgconn.ErrReadOnlyConnection, failure.ReasonNotPrimary},
		{state("FATAL", sqlstate.InvalidPassword), failure.ReasonAuth},
		{state("FATAL", sqlstate.TooManyConnections), failure.ReasonTooMany},
		{state("FATAL", sqlstate.CannotConnectNow), failure.ReasonNotReady},
		{state("FATAL", sqlstate.InvalidCatalogName), failure.ReasonConfig},
		{state("FATAL", "58030"), failure.ReasonOther},
		{context.DeadlineExceeded, failure.ReasonTimeout},
		{os.ErrDeadlineExceeded, failure.ReasonTimeout},
		{errors.Join(op(syscall.ECONNREFUSED), state("FATAL", sqlstate.InvalidPassword)), failure.ReasonAuth},
		{errors.New("something else"), failure.ReasonOther},
	} {
		t.Run(fmt.Sprintf("a dial that fails with %v has the reason %v, also when wrapped", c.err, c.want),
			func(t *testing.T) {
				check.Equal(t, failure.DialReason(c.err), c.want)
				check.Equal(t, failure.DialReason(fmt.Errorf("at work: %w", errors.Join(errors.New("one"), c.err))), c.want)
			})
	}
}

// exhausted is an error that knows its reason.
type exhausted struct{ error }

func (exhausted) Reason() string { return "pool_exhausted" }

func TestReasonOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want failure.Reason
	}{
		{io.EOF, failure.ReasonConnectionLost},
		{op(syscall.ECONNRESET), failure.ReasonConnectionLost},
		{driver.ErrBadConn, failure.ReasonConnectionLost},
		{pgconn.ErrConnClosed, failure.ReasonConnectionLost},
		{op(syscall.ECONNREFUSED), failure.ReasonRefused},
		{&net.DNSError{Name: "db"}, failure.ReasonDNS},
		{pgx.ErrTxCommitRollback, failure.ReasonRolledBack},
		{failure.ErrClosed, failure.ReasonClosed},
		{exhausted{errors.New("none")}, failure.ReasonPoolExhausted},
		{context.DeadlineExceeded, failure.ReasonTimeout},
		{os.ErrDeadlineExceeded, failure.ReasonTimeout},
		{errors.New("failed to encode args[0]: no"), failure.ReasonArgument},
		{errors.New("expected 1 arguments, got 2"), failure.ReasonArgument},
		{errors.New("something else"), failure.ReasonOther},
	} {
		t.Run(fmt.Sprintf("a statement that fails with %v has the reason %v", c.err, c.want), func(t *testing.T) {
			check.Equal(t, failure.ReasonOf(fmt.Errorf("at work: %w", c.err)), c.want)
		})
	}
}

// TestReasonsOfPgx pins the words of pgx that package failure recognises.
func TestReasonsOfPgx(t *testing.T) {
	conn := pgtest.Shared(t).Admin(t)
	t.Run("a statement on a connection with open rows is busy", func(t *testing.T) {
		rows, err := conn.Query(t.Context(), "select generate_series(1, 2)")
		check.OK(t, err)
		defer rows.Close()
		_, err = conn.Exec(t.Context(), "select 1")
		check.Equal(t, failure.ReasonOf(err), failure.ReasonBusy)
	})
	t.Run("an argument that cannot be encoded is recognised", func(t *testing.T) {
		_, err := conn.Exec(t.Context(), "select $1::int", struct{}{})
		check.Equal(t, failure.ReasonOf(err), failure.ReasonArgument)
	})
	t.Run("a wrong number of arguments is recognised", func(t *testing.T) {
		_, err := conn.Exec(t.Context(), "select $1::int, $2::int", 1)
		check.Equal(t, failure.ReasonOf(err), failure.ReasonArgument)
	})
}
