package pgsafe

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/libpq"
)

// ErrCertificateExpired is returned, wrapped, from a connect that failed with a client certificate that has expired. The
// error's text names the file. It is of KindConfig.
var ErrCertificateExpired = errors.New("the client certificate has expired")

// certificates knows the client certificates of a Connector's connections. A connection outlives its certificate, which
// is looked at only when it is made; so that a server which has revoked or replaced an authority need not wait for
// that, those of an expired certificate are closed: idle ones when it expires, others when they come back.
type certificates struct {
	onExpired func()                        // closes idle connections
	onDue     func(libpq.ClientCertificate) // is told once of one that is about to expire, or has

	mu     sync.Mutex
	newest libpq.ClientCertificate   // of the latest connect
	timers map[time.Time]*time.Timer // by when the certificate expires
	closed bool
}

// used is told of the certificate that a connection is about to be made with.
func (c *certificates) used(cert libpq.ClientCertificate) {
	if c.note(cert) && time.Until(cert.NotAfter) < notice(cert) {
		c.onDue(cert) // not under the mutex: the log may be kept in the same database
	}
}

// note reports whether it has not seen the certificate before.
func (c *certificates) note(cert libpq.ClientCertificate) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest = cert
	if _, known := c.timers[cert.NotAfter]; known || c.closed {
		return false
	}
	if c.timers == nil {
		c.timers = make(map[time.Time]*time.Timer)
	}
	c.timers[cert.NotAfter] = time.AfterFunc(time.Until(cert.NotAfter), c.onExpired)
	return true
}

// notice is how long before its end a certificate is due: a week, or for those that live for days a quarter of their
// life, since what renews them does so with a third left.
func notice(cert libpq.ClientCertificate) time.Duration {
	return min(7*24*time.Hour, cert.NotAfter.Sub(cert.NotBefore)/4)
}

// expiry returns when the certificate of the latest connect expires.
func (c *certificates) expiry() (at time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest.NotAfter, !c.newest.NotAfter.IsZero()
}

func (c *certificates) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, timer := range c.timers {
		timer.Stop()
	}
}

// certify notes the certificate that config's connection will have.
func (c *Connector) certify(config *pgx.ConnConfig) {
	if cert, ok := c.conn.ClientCertificate(&config.Config); ok {
		c.certificates.used(cert)
	}
}

// endWithCertificate bounds the life of a connection by that of the certificate that it was made with. A server that
// lets an expired one in did not ask for it.
func (c *Connector) endWithCertificate(ph *physical) {
	cert, ok := c.conn.ClientCertificate(&ph.conn.Config().Config)
	if ok && time.Now().Before(cert.NotAfter) && (ph.expires.IsZero() || cert.NotAfter.Before(ph.expires)) {
		ph.expires, ph.certified = cert.NotAfter, cert.NotAfter
	}
}

// drainExpired closes the idle connections whose time is over. It runs in the background when a certificate has expired.
func (c *Connector) drainExpired() {
	c.mu.Lock()
	defer c.mu.Unlock()
	pool := c.pool.Load()
	if c.closed || pool == nil {
		return
	}
	c.work.Go(func() {
		c.lot.evict()
		for _, conn := range pool.AcquireAllIdle(c.ctx) { // without those that are expired: see preparePooled
			conn.Release()
		}
	})
}

// expiredCertificate returns ErrCertificateExpired with the file and the time, if that is why connecting failed. The
// server tells of it with an alert, which gets lost if the server closes first (be_tls_open_server,
// be-secure-openssl.c, and its caller).
func (c *Connector) expiredCertificate(failed *pgconn.ConnectError) error {
	cert, ok := c.conn.ClientCertificate(failed.Config)
	if !ok || time.Now().Before(cert.NotAfter) || !isAlert(failed) && !errors.Is(failed, syscall.ECONNRESET) {
		return nil
	}
	name := "that the application gave"
	if cert.File != "" {
		name = "in " + cert.File
	}
	return fmt.Errorf("%w: the one %s, on %s", ErrCertificateExpired, name, cert.NotAfter.UTC().Format(time.RFC3339))
}

// isAlert recognises what the other side of TLS says when it does not go on: a certificate that is missing, expired,
// revoked or unknown, or versions and ciphers that do not fit (crypto/tls, Conn.readRecordOrCCS).
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
