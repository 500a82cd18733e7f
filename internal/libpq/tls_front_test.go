package libpq_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// front takes TLS, at once or after the client asked for it, notes how the client said hello, and passes what is
// inside on to a server without TLS.
type front struct {
	target   string
	config   *tls.Config
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	open   []net.Conn
	hellos []hello
}

// hello is how a connection began.
type hello struct {
	direct     bool // with TLS, and not with a question
	serverName string
	protocols  []string
	resumed    bool
}

func newFront(t *testing.T, config *tls.Config) *front {
	t.Helper()
	c := pgtest.Shared(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check.OK(t, err)
	f := &front{target: net.JoinHostPort(c.Host(), strconv.Itoa(c.Port())), config: config, listener: l}
	config.GetConfigForClient = f.note
	f.running.Go(f.accept)
	t.Cleanup(func() {
		_ = l.Close()
		f.mu.Lock()
		for _, conn := range f.open {
			_ = conn.Close()
		}
		f.mu.Unlock()
		f.running.Wait()
	})
	return f
}

// dsn is for a connection to the front.
func (f *front) dsn(host, params string) string {
	return fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres %s", host, f.listener.Addr().(*net.TCPAddr).Port, params)
}

// last returns how the latest connection began.
func (f *front) last(t *testing.T) hello {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.hellos) == 0 {
		t.Fatal("nobody said hello")
	}
	return f.hellos[len(f.hellos)-1]
}

func (f *front) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.keep(conn)
		f.running.Go(func() {
			defer conn.Close()
			_ = f.serve(conn) // the client sees what went wrong
		})
	}
}

func (f *front) keep(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = append(f.open, conn)
}

func (f *front) serve(conn net.Conn) error {
	reader := bufio.NewReader(conn)
	first, err := reader.Peek(1)
	if err != nil {
		return err
	}
	const handshakeRecord = 0x16 // RFC 8446, 5.1
	direct := first[0] == handshakeRecord
	if !direct {
		if _, err := io.CopyN(io.Discard, reader, 8); err != nil { // SSLRequest
			return err
		}
		if _, err := conn.Write([]byte("S")); err != nil {
			return err
		}
	}
	client := tls.Server(&clientConn{conn, reader, direct}, f.config)
	if err := client.Handshake(); err != nil {
		return err
	}
	f.mu.Lock()
	f.hellos[len(f.hellos)-1].resumed = client.ConnectionState().DidResume
	f.mu.Unlock()
	return f.pass(client)
}

// note is called with the client's hello, and changes nothing.
func (f *front) note(info *tls.ClientHelloInfo) (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hellos = append(f.hellos, hello{
		direct: info.Conn.(*clientConn).direct, serverName: info.ServerName, protocols: info.SupportedProtos,
	})
	return nil, nil
}

func (f *front) pass(client net.Conn) error {
	server, err := net.Dial("tcp", f.target)
	if err != nil {
		return err
	}
	f.keep(server)
	f.running.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, err = io.Copy(server, client)
	return errors.Join(err, server.Close())
}

// clientConn is a connection of which the beginning was read already.
type clientConn struct {
	net.Conn
	reader io.Reader
	direct bool
}

func (c *clientConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

func TestDirectTLS(t *testing.T) {
	home(t)
	ca := newAuthority(t, "trusted", nil)
	config := func(protocols ...string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{ca.server(t, "localhost")}, NextProtos: protocols}
	}
	root := ca.file(t)
	for _, mode := range []string{"sslmode=verify-full", "sslmode=verify-full sslsni=0", "sslmode=require"} {
		params := "sslnegotiation=direct sslrootcert=" + root + " " + mode
		t.Run("it begins with TLS and names the protocol, with "+mode, func(t *testing.T) {
			f := newFront(t, config("postgresql"))
			check.Equal(t, outcome(t, f.dsn("localhost", params)), encrypted)
			check.Equal(t, f.last(t).direct, true)
			check.Equal(t, slices.Equal(f.last(t).protocols, []string{"postgresql"}), true)
		})
		t.Run("a server that does not agree on the protocol is left, with "+mode, func(t *testing.T) {
			f := newFront(t, config())
			_, err := tryConnect(t, f.dsn("localhost", params))
			if err == nil || !strings.Contains(err.Error(), "ALPN") {
				t.Errorf("the error is %v", err)
			}
			check.Equal(t, f.last(t).direct, true)
		})
	}
	t.Run("without it the server is asked first", func(t *testing.T) {
		f := newFront(t, config())
		check.Equal(t, outcome(t, f.dsn("localhost", "sslmode=require")), encrypted)
		check.Equal(t, f.last(t).direct, false)
	})
	t.Run("only a server of version 17 or later takes it", func(t *testing.T) {
		c := pgtest.SharedTLS(t)
		want := refused
		if c.Binaries().Major >= 17 {
			want = encrypted
		}
		check.Equal(t, outcome(t, fmt.Sprintf("host=localhost port=%d user=%s password='%s' dbname=%s sslmode=require sslnegotiation=direct",
			c.Port(), pgtest.TLSUser, pgtest.TLSPassword, pgtest.TLSDatabase)), want)
	})
}

func TestSNI(t *testing.T) {
	home(t)
	ca := newAuthority(t, "trusted", nil)
	f := newFront(t, &tls.Config{Certificates: []tls.Certificate{ca.server(t, "localhost", "127.0.0.1")}})
	root := " sslrootcert=" + ca.file(t)
	tests := []struct{ name, host, params, want string }{
		{"require sends the name", "localhost", "sslmode=require", "localhost"},
		{"verify-ca sends the name", "localhost", "sslmode=verify-ca" + root, "localhost"},
		{"verify-full sends the name", "localhost", "sslmode=verify-full" + root, "localhost"},
		{"sslsni=1 says the same", "localhost", "sslsni=1 sslmode=verify-full" + root, "localhost"},
		{"an address is no name", "127.0.0.1", "sslmode=verify-full" + root, ""},
		{"sslsni=0 keeps it back with require", "localhost", "sslsni=0 sslmode=require", ""},
		{"sslsni=0 keeps it back with verify-ca", "localhost", "sslsni=0 sslmode=verify-ca" + root, ""},
		{"sslsni=0 keeps it back with verify-full", "localhost", "sslsni=0 sslmode=verify-full" + root, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check.Equal(t, outcome(t, f.dsn(tt.host, tt.params)), encrypted)
			check.Equal(t, f.last(t).serverName, tt.want)
		})
	}
}

// An application may set a cache for sessions. crypto/tls verifies nothing anew when it resumes one.
func TestResumption(t *testing.T) {
	home(t)
	ca := newAuthority(t, "trusted", nil)
	cert := ca.server(t, "localhost")
	for _, params := range []string{"sslmode=verify-ca", "sslmode=verify-full", "sslmode=verify-full sslsni=0"} {
		t.Run("a resumed session is held against the lists with "+params, func(t *testing.T) {
			f := newFront(t, &tls.Config{Certificates: []tls.Certificate{cert}})
			list := writeFile(t, "root.crl", ca.list(t))
			c, err := read(f.dsn("localhost", params+" sslrootcert="+ca.file(t)+" sslcrl="+list))
			check.OK(t, err)
			c.Conn.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for range 2 {
				_, err = dial(t, c)
				check.OK(t, err)
			}
			check.Equal(t, f.last(t).resumed, true)
			check.OK(t, os.WriteFile(list, []byte(ca.list(t, cert.Leaf)), 0o600))
			if _, err = dial(t, c); err == nil {
				t.Error("it connects with a revoked certificate")
			}
		})
	}
}

func TestCertificateMode(t *testing.T) {
	home(t)
	c := pgtest.ClientCert(t)
	cert, key, err := c.ClientCert("postgres")
	check.OK(t, err)
	dsn := fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres sslmode=require ", c.Port())
	own := fmt.Sprintf("sslcert=%s sslkey=%s ", cert, key)
	tests := []struct{ name, params, want string }{
		{"it is sent where the server asks", own, encrypted},
		{"it must be sent with require", own + "sslcertmode=require", encrypted},
		{"it is kept back with disable", own + "sslcertmode=disable", refused},
		{"with disable its key is not looked at", "sslcertmode=disable sslcert=" + cert + " sslkey=" + writeFile(t, "empty", ""), refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config, err := read(dsn + tt.params)
			check.OK(t, err)
			_, err = dial(t, config)
			check.Equal(t, err == nil, tt.want == encrypted)
		})
	}
	t.Run("require insists on one where the server does not", func(t *testing.T) {
		c := newTLSServer(t, nil)
		dsn := fmt.Sprintf("host=localhost port=%d user=postgres dbname=postgres sslmode=require sslcertmode=", c.Port())
		check.Equal(t, outcome(t, dsn+"allow"), encrypted)
		check.Equal(t, outcome(t, dsn+"require"), refused)
	})
	t.Run("the default files are sent", func(t *testing.T) {
		dir := home(t)
		check.OK(t, os.Symlink(cert, filepath.Join(dir, "postgresql.crt")))
		check.OK(t, os.Symlink(key, filepath.Join(dir, "postgresql.key")))
		for _, params := range []string{"", "sslcert=" + cert, "sslkey=" + key} {
			check.Equal(t, outcome(t, dsn+params), encrypted)
		}
		check.Equal(t, outcome(t, dsn+"sslcertmode=disable"), refused)
	})
}
