package pgserver_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// hard is a password that many tools get wrong.
const hard = pgtest.TLSPassword

func TestTLS(t *testing.T) {
	s := start(t, pgserver.Options{
		Auth: pgserver.SCRAM, TLS: true, User: "lwe-admin", Password: hard, Database: "ai_workflow_engine",
		Settings: map[string]string{"log_statement": "all", "log_connections": "on"},
	})

	t.Run("the URI connects with TLS and a password with brackets", func(t *testing.T) {
		got := ask[string](t, s.URI(""), "SELECT current_user || ' ' || current_database() || ' ' || ssl || ' ' || version "+
			"FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
		if got != "lwe-admin ai_workflow_engine true TLSv1.3" {
			t.Errorf("we are %s", got)
		}
	})

	t.Run("the certificate is verified for localhost", func(t *testing.T) {
		uri := strings.Replace(s.URI(""), "@127.0.0.1:", "@localhost:", 1)
		if !ask[bool](t, uri, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") {
			t.Error("no TLS")
		}
	})

	t.Run("a server with TLS accepts connections without TLS", func(t *testing.T) {
		uri := strings.Replace(s.URI(""), "sslmode=verify-full", "sslmode=disable", 1)
		if ask[bool](t, uri, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") {
			t.Error("TLS")
		}
	})
}

func TestServerCertificate(t *testing.T) {
	s := start(t, pgserver.Options{TLS: true, ServerNames: []string{"db.example.com", "10.1.2.3"},
		ServerCertLifetime: -time.Hour})

	t.Run("a server certificate has the requested names", func(t *testing.T) {
		text, err := os.ReadFile(s.DataDir() + "/server.crt")
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"localhost", "127.0.0.1", "::1", "db.example.com", "10.1.2.3"} {
			if err := cert.VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("a server certificate can have expired", func(t *testing.T) {
		if _, err := tryAsk[int](t, s.URI(""), "SELECT 1"); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("connecting: %v", err)
		}
	})
}

func TestClientCertificates(t *testing.T) {
	s := start(t, pgserver.Options{Auth: pgserver.ClientCert})
	run(t, s.SocketURI(""), "CREATE ROLE alice LOGIN")
	bare := fmt.Sprintf("postgres://alice@127.0.0.1:%d/postgres?sslmode=verify-full&sslrootcert=%s", s.Port(), s.CAFile())

	with := func(t *testing.T, user string, opts pgserver.CertOptions) string {
		t.Helper()
		cert, key, err := s.ClientCertWith(user, opts)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key has mode %v (%v)", info.Mode(), err)
		}
		return bare + "&sslcert=" + cert + "&sslkey=" + key
	}

	t.Run("the URI logs the superuser in", func(t *testing.T) {
		if got := ask[string](t, s.URI(""), "SELECT current_user::text"); got != "postgres" {
			t.Errorf("we are %s", got)
		}
	})

	t.Run("a user's client certificate logs that user in", func(t *testing.T) {
		got := ask[string](t, with(t, "alice", pgserver.CertOptions{}),
			"SELECT current_user || client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
		if got != "alice/CN=alice" {
			t.Errorf("we are %s", got)
		}
	})

	for name, uri := range map[string]string{
		"a client without a certificate is refused":    bare,
		"another user's client certificate is refused": with(t, "bob", pgserver.CertOptions{}),
		"an expired client certificate is refused": with(t, "alice",
			pgserver.CertOptions{Lifetime: -time.Minute}),
		"a client certificate of another authority is refused": with(t, "alice", pgserver.CertOptions{Untrusted: true}),
		"a connection without TLS is refused": fmt.Sprintf("postgres://alice@127.0.0.1:%d/postgres?sslmode=disable",
			s.Port()),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tryAsk[int](t, uri, "SELECT 1"); err == nil {
				t.Error("the server accepted it")
			}
		})
	}

	t.Run("a server without TLS makes no client certificates", func(t *testing.T) {
		plain := pgtest.Shared(t)
		if _, _, err := plain.ClientCert("alice"); err == nil || plain.CAFile() != "" {
			t.Errorf("ClientCert = %v, CAFile = %q", err, plain.CAFile())
		}
	})
}
