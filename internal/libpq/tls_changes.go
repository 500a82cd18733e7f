package libpq

import (
	"crypto/sha256"
	"crypto/tls"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// transports keeps up with the files of TLS: root certificates, the client's certificate and its
// key. They are looked at for each connection, and read anew when what they hold has changed; libpq
// reads them each time (initialize_SSL, fe-secure-openssl.c), which for an encrypted key takes
// longer than to connect. Contents are compared, because a time stamp may be too coarse for two
// changes.
//
// While files that belong together are replaced one after another they do not fit. What was read
// before then stays in force until they do.
type transports struct {
	keywords    keywords
	sslPassword urlfix.Secret
	onUnusable  func(*urlfix.Error)

	first *transport // the transport of Config.Conn

	mu      sync.Mutex
	seen    [sha256.Size]byte // what the files held when they were last read
	current *transport
}

func newTransports(k keywords, sslPassword urlfix.Secret, onUnusable func(*urlfix.Error)) (*transports, *urlfix.Error) {
	t := &transports{keywords: k, sslPassword: sslPassword, onUnusable: onUnusable, seen: contents(k)}
	var err *urlfix.Error
	t.first, err = readTransport(k, sslPassword)
	t.current = t.first
	return t, err
}

// contents returns a digest of what the files hold, or of why that cannot be read.
func contents(k keywords) [sha256.Size]byte {
	cert, key := clientFiles(k)
	digest := sha256.New()
	for _, path := range [...]string{rootSource(k), cert, key} {
		if path == "" || path == systemRoots {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			text = []byte(err.Error())
		}
		sum := sha256.Sum256(text)
		digest.Write(sum[:])
	}
	return [sha256.Size]byte(digest.Sum(nil))
}

// latest returns what the files say, or last said.
func (t *transports) latest() *transport {
	current, err := t.read()
	if err != nil {
		t.onUnusable(err) // not under the mutex: it may itself need a connection
	}
	return current
}

// read is latest, with what is wrong with the files if they have just changed.
func (t *transports) read() (*transport, *urlfix.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Before they are read: a change in between is then found the next time.
	now := contents(t.keywords)
	if now == t.seen {
		return t.current, nil
	}
	t.seen = now
	next, err := readTransport(t.keywords, t.sslPassword)
	if err == nil {
		t.current = next
	}
	return t.current, err
}

// update brings a copy of Config.Conn up to date.
func (t *transports) update(conn *pgx.ConnConfig) {
	if latest := t.latest(); latest != t.first {
		latest.apply(conn)
	}
}

// apply puts the configuration of TLS into each attempt of conn that uses it. pgx decides which
// those are, by host and sslmode.
func (t *transport) apply(conn *pgx.ConnConfig) {
	if conn.TLSConfig != nil {
		conn.TLSConfig = t.config(conn.Host)
	}
	for _, fallback := range conn.Fallbacks {
		if fallback.TLSConfig != nil {
			fallback.TLSConfig = t.config(fallback.Host)
		}
	}
}

// usesTLS reports whether any attempt of conn does.
func usesTLS(conn *pgconn.Config) bool { return tlsOf(conn) != nil }

// tlsOf returns the configuration of the first attempt that uses TLS, nil if none does. All have
// the same certificate.
func tlsOf(conn *pgconn.Config) *tls.Config {
	if conn.TLSConfig != nil {
		return conn.TLSConfig
	}
	for _, fallback := range conn.Fallbacks {
		if fallback.TLSConfig != nil {
			return fallback.TLSConfig
		}
	}
	return nil
}

// ClientCertificate is the certificate with which a client proves who it is.
type ClientCertificate struct {
	File                string // where it was read; "" if the application brought it
	NotBefore, NotAfter time.Time
}

// ClientCertificate returns the client certificate of connections made with conn, a copy of c.Conn.
// It reports false if there is none, or if the application chooses it during the handshake.
func (c *Config) ClientCertificate(conn *pgconn.Config) (ClientCertificate, bool) {
	secured := tlsOf(conn)
	if secured == nil || len(secured.Certificates) == 0 {
		return ClientCertificate{}, false
	}
	leaf := secured.Certificates[0].Leaf // tls.X509KeyPair sets it
	if leaf == nil {
		return ClientCertificate{}, false
	}
	found := ClientCertificate{NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	if c.tls != nil {
		found.File, _ = clientFiles(c.tls.keywords)
	}
	return found, true
}
