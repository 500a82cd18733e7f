package pgsafe_test

import (
	"context"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestKindOf(t *testing.T) {
	state := func(code string) error { return &pgconn.PgError{Code: code} }
	for _, c := range []struct {
		name string
		err  error
		want pgsafe.Kind
	}{
		{"no error", nil, pgsafe.KindNone},
		{"no row", sql.ErrNoRows, pgsafe.KindOther},
		{"a foreign error", errors.New("foreign"), pgsafe.KindOther},
		{"a cancelled context", context.Canceled, pgsafe.KindCanceled},
		{"a deadline", context.DeadlineExceeded, pgsafe.KindTimeout},
		{"a bad connection string", &pgsafe.DSNError{}, pgsafe.KindConfig},
		{"a full pool", &pgsafe.AcquireError{InUse: 2, Max: 2}, pgsafe.KindPoolExhausted},
		{"a slow connect", &pgsafe.AcquireError{InUse: 1, Max: 2, Connecting: 1}, pgsafe.KindTimeout},
		{"serialization_failure", state("40001"), pgsafe.KindSerialization},
		{"deadlock_detected", state("40P01"), pgsafe.KindSerialization},
		{"unique_violation", state("23505"), pgsafe.KindUnique},
		{"exclusion_violation", state("23P01"), pgsafe.KindUnique},
		{"foreign_key_violation", state("23503"), pgsafe.KindConstraint},
		{"not_null_violation", state("23502"), pgsafe.KindConstraint},
		{"invalid_password", state("28P01"), pgsafe.KindAuth},
		{"invalid_authorization_specification", state("28000"), pgsafe.KindAuth},
		{"invalid_catalog_name", state("3D000"), pgsafe.KindConfig},
		{"query_canceled by the server's statement_timeout", state("57014"), pgsafe.KindTimeout},
		{"lock_not_available", state("55P03"), pgsafe.KindTimeout},
		{"admin_shutdown", state("57P01"), pgsafe.KindUnavailable},
		{"cannot_connect_now", state("57P03"), pgsafe.KindUnavailable},
		{"idle_session_timeout", state("57P05"), pgsafe.KindTimeout},
		{"too_many_connections", state("53300"), pgsafe.KindUnavailable},
		{"connection_failure", state("08006"), pgsafe.KindUnavailable},
		{"syntax_error", state("42601"), pgsafe.KindOther},
		{"a refused connection", &net.OpError{Op: "dial", Err: errors.New("refused")}, pgsafe.KindUnavailable},
		{"an unknown host", &net.DNSError{IsNotFound: true}, pgsafe.KindUnavailable},
		{"a slow name server", &net.DNSError{IsTimeout: true}, pgsafe.KindTimeout},
		{"a lost connection", io.ErrUnexpectedEOF, pgsafe.KindUnavailable},
		{"database/sql's bad connection", driver.ErrBadConn, pgsafe.KindUnavailable},
		{"a closed connector", pgsafe.ErrClosed, pgsafe.KindUnavailable},
		{"an unknown authority", x509.UnknownAuthorityError{}, pgsafe.KindConfig},
		{"a certificate for another host", x509.HostnameError{Certificate: &x509.Certificate{}}, pgsafe.KindConfig},
	} {
		t.Run("KindOf reports "+c.name+" as "+c.want.String(), func(t *testing.T) {
			check.Equal(t, pgsafe.KindOf(c.err), c.want)
			if c.err != nil {
				check.Equal(t, pgsafe.KindOf(fmt.Errorf("wrapped: %w", c.err)), c.want)
			}
		})
	}
	t.Run("an unknown kind prints its number", func(t *testing.T) {
		check.Equal(t, pgsafe.Kind(99).String(), "Kind(99)")
	})
	t.Run("three kinds are transient", func(t *testing.T) {
		var transient []string
		for k := pgsafe.KindNone; k <= pgsafe.KindOther; k++ {
			if k.Transient() {
				transient = append(transient, k.String())
			}
		}
		check.Equal(t, fmt.Sprint(transient), "[pool exhausted unavailable serialization]")
	})
}

// A server that does not meet a keyword's demand is no reason to retry.
func TestKindOfUnmetDemands(t *testing.T) {
	trusting, secured := pgtest.Shared(t), pgtest.SharedTLS(t)
	plain := fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres ", trusting.Host(), trusting.Port())
	withTLS := fmt.Sprintf("host=localhost port=%d user=%s password='%s' dbname=%s ",
		secured.Port(), pgtest.TLSUser, pgtest.TLSPassword, pgtest.TLSDatabase)
	for _, c := range []struct {
		name, dsn string
		want      pgsafe.Kind
	}{
		{"TLS that the server does not have", plain + "sslmode=require", pgsafe.KindConfig},
		{"a server that runs as another user",
			fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres requirepeer=no-such-user",
				trusting.SocketDir(), trusting.Port()), pgsafe.KindConfig},
		{"channel binding without a login challenge",
			plain + "sslmode=disable channel_binding=require", pgsafe.KindConfig},
		{"channel binding without TLS", withTLS + "sslmode=disable channel_binding=require", pgsafe.KindConfig},
		{"a client certificate that the server does not ask for",
			withTLS + "sslmode=require sslcertmode=require", pgsafe.KindConfig},
		{"a way to log in that the server does not ask for",
			plain + "sslmode=disable require_auth=scram-sha-256", pgsafe.KindConfig},
		{"TLS of two servers of which one cannot be reached",
			fmt.Sprintf("host=%s,127.0.0.1 port=%d,%d user=u sslmode=require",
				trusting.Host(), trusting.Port(), pgtest.ClosedPort(t)), pgsafe.KindUnavailable},
	} {
		t.Run("KindOf reports "+c.name+" as "+c.want.String(), func(t *testing.T) {
			err := open(t, pgsafe.DriverName, c.dsn).PingContext(t.Context())
			if got := pgsafe.KindOf(err); got != c.want {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
}

func TestSQLState(t *testing.T) {
	check.Equal(t, pgsafe.SQLState(nil), "")
	check.Equal(t, pgsafe.SQLState(io.EOF), "")
	check.Equal(t, pgsafe.SQLState(fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: "40001"})), "40001")
}
