package failure_test

import (
	"context"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

func TestOf(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for _, c := range []struct {
		err  error
		kind failure.Kind
	}{
		{nil, failure.None},
		{context.Canceled, failure.Canceled},
		{context.DeadlineExceeded, failure.Timeout},
		{state("ERROR", sqlstate.SerializationFailure), failure.Serialization},
		{state("ERROR", sqlstate.DeadlockDetected), failure.Serialization},
		{state("ERROR", sqlstate.UniqueViolation), failure.Unique},
		{state("ERROR", sqlstate.ExclusionViolation), failure.Unique},
		{state("ERROR", "23503"), failure.Constraint},
		{state("ERROR", sqlstate.QueryCanceled), failure.Timeout},
		{state("ERROR", sqlstate.LockNotAvailable), failure.Timeout},
		{state("FATAL", sqlstate.IdleInTransactionSessionTimeout), failure.Timeout},
		{state("FATAL", sqlstate.TransactionTimeout), failure.Timeout},
		{state("FATAL", sqlstate.IdleSessionTimeout), failure.Timeout},
		{state("FATAL", sqlstate.InvalidCatalogName), failure.Config},
		{state("FATAL", sqlstate.InvalidPassword), failure.Auth},
		{state("FATAL", sqlstate.InvalidAuthorizationSpecification), failure.Auth},
		{state("FATAL", sqlstate.TooManyConnections), failure.Unavailable},
		{state("FATAL", sqlstate.AdminShutdown), failure.Unavailable},
		{state("FATAL", sqlstate.CannotConnectNow), failure.Unavailable},
		{state("FATAL", "08006"), failure.Unavailable},
		{state("ERROR", "57000"), failure.Other},
		{state("ERROR", "22012"), failure.Other},
		{refused, failure.Unavailable},
		{os.ErrDeadlineExceeded, failure.Timeout},
		{io.ErrUnexpectedEOF, failure.Unavailable},
		{driver.ErrBadConn, failure.Unavailable},
		{pgconn.ErrConnClosed, failure.Unavailable},
		{x509.UnknownAuthorityError{}, failure.Config},
		{failure.ErrCertificateExpired, failure.Config},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, failure.Config},
		{libpq.ErrPeer, failure.Config},
		{errors.New("server refused TLS connection"), failure.Config},
		{errors.Join(errors.New("server refused TLS connection"), refused), failure.Unavailable},
		{errors.Join(refused, state("FATAL", sqlstate.InvalidPassword)), failure.Auth},
		{errors.Join(pgconn.ErrStandbyConnection, errors.New("server refused TLS connection")), failure.Config},
		{errors.New("something else"), failure.Other},
	} {
		t.Run(fmt.Sprintf("%v is of kind %v, wrapped too", c.err, c.kind), func(t *testing.T) {
			check.Equal(t, failure.Of(c.err), c.kind)
			if c.err != nil {
				check.Equal(t, failure.Of(fmt.Errorf("at work: %w", errors.Join(errors.New("one"), c.err))), c.kind)
			}
		})
	}
}

func state(severity, code string) *pgconn.PgError {
	return &pgconn.PgError{Severity: severity, Code: code}
}

func TestKindsInWords(t *testing.T) {
	t.Run("each kind has a name, and another number shows itself", func(t *testing.T) {
		check.Equal(t, failure.None.String(), "none")
		check.Equal(t, failure.Other.String(), "other")
		check.Equal(t, (failure.Other + 1).String(), "Kind(12)")
		check.Equal(t, failure.Kind(-1).String(), "Kind(-1)")
	})
}

func TestSeverity(t *testing.T) {
	t.Run("the severity that is not translated counts", func(t *testing.T) {
		check.Equal(t, failure.IsFatal(&pgconn.PgError{Severity: "FATAL: ", SeverityUnlocalized: "FATAL"}), true)
		check.Equal(t, failure.IsFatal(&pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR"}), false)
	})
	t.Run("a server that sends only the translated severity is understood in English", func(t *testing.T) {
		check.Equal(t, failure.IsFatal(&pgconn.PgError{Severity: "FATAL"}), true)
	})
}

func TestAny(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	isTwo := func(err error) bool { return err == two }
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"Any is false of nil":                   {nil, false},
		"Any looks at the error itself":         {two, true},
		"Any looks through wrapping":            {fmt.Errorf("a: %w", fmt.Errorf("b: %w", two)), true},
		"Any looks at all of several errors":    {fmt.Errorf("a: %w", errors.Join(one, two)), true},
		"Any is false if no error in it is one": {errors.Join(one, one), false},
	} {
		t.Run(name, func(t *testing.T) { check.Equal(t, failure.Any(c.err, isTwo), c.want) })
	}
}
