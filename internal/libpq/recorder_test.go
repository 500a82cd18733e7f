package libpq_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// visit is what a recorder learned from one connection.
type visit struct {
	serverName string // that TLS asked for
	startup    pgproto3.StartupMessage
	password   string
}

// recorder is a server that asks for passwords in the clear, and then says that it is starting up. It is for what a
// client sends to whom.
type recorder struct {
	listener net.Listener
	tls      *tls.Config // nil: it has none

	mu     sync.Mutex
	visits []visit
}

// newRecorder listens on a TCP port of 127.0.0.1 until the test ends.
func newRecorder(t testing.TB, secured *tls.Config) *recorder {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check.OK(t, err)
	r := &recorder{listener: l, tls: secured}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return r
}

func (r *recorder) port() int { return r.listener.Addr().(*net.TCPAddr).Port }

func (r *recorder) passwords() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, v := range r.visits {
		all = append(all, v.password)
	}
	return all
}

// serve talks to one client, which may leave at any time.
func (r *recorder) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	var v visit
	if r.tls != nil {
		request := make([]byte, 8) // SSLRequest
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		if _, err := conn.Write([]byte{'S'}); err != nil {
			return
		}
		secured := tls.Server(conn, r.tls)
		if secured.Handshake() != nil {
			return
		}
		v.serverName = secured.ConnectionState().ServerName
		conn = secured
	}
	backend := pgproto3.NewBackend(conn, conn)
	first, err := backend.ReceiveStartupMessage()
	if err != nil {
		return
	}
	startup, ok := first.(*pgproto3.StartupMessage)
	if !ok {
		return
	}
	v.startup = *startup
	_ = backend.SetAuthType(pgproto3.AuthTypeCleartextPassword) // it knows that type
	backend.Send(&pgproto3.AuthenticationCleartextPassword{})
	if backend.Flush() != nil {
		return
	}
	if message, err := backend.Receive(); err == nil {
		if password, ok := message.(*pgproto3.PasswordMessage); ok {
			v.password = password.Password
		}
	}
	r.mu.Lock()
	r.visits = append(r.visits, v)
	r.mu.Unlock()
	backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P03", Message: "starting up, got " + v.password})
	_ = backend.Flush() // the client may be gone
}

// certificate makes a server's TLS configuration that nobody trusts.
func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check.OK(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check.OK(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// same fails if two lists differ.
func same(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", strings.Join(got, " "), strings.Join(want, " "))
	}
}
