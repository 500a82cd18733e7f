package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/libpq"
)

// certificates knows the client certificates that connections were made with. A server checks a
// certificate only when a connection is made. pgsafe closes a connection when its certificate
// expires, so that an authority which a server has revoked or replaced does not live on in old
// connections.
type certificates struct {
	onExpired func()                        // may be nil
	onDue     func(libpq.ClientCertificate) // called once for each certificate that has or is about to expire

	mu     sync.Mutex
	newest libpq.ClientCertificate   // of the latest dial
	timers map[time.Time]*time.Timer // by when the certificate expires
	closed bool
}

// used notes the certificate of a dial.
func (c *certificates) used(cert libpq.ClientCertificate) {
	if c.note(cert) && time.Until(cert.NotAfter) < notice(cert) {
		c.onDue(cert) // not under the mutex: the log may be kept in the same database
	}
}

// note reports whether the certificate is new.
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
	c.timers[cert.NotAfter] = time.AfterFunc(time.Until(cert.NotAfter), c.expired)
	return true
}

func (c *certificates) expired() {
	if c.onExpired != nil {
		c.onExpired()
	}
}

// notice is how long before its end a certificate is due: a week, or a quarter of its life if that
// is shorter. Tools that renew short-lived certificates do so with a third left.
func notice(cert libpq.ClientCertificate) time.Duration {
	return min(7*24*time.Hour, cert.NotAfter.Sub(cert.NotBefore)/4)
}

func (c *certificates) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, timer := range c.timers {
		timer.Stop()
	}
}

// Expiry returns when the client certificate of the latest dial expires. It reports false if there
// was none.
func (d *Dialer) Expiry() (at time.Time, ok bool) {
	d.certificates.mu.Lock()
	defer d.certificates.mu.Unlock()
	at = d.certificates.newest.NotAfter
	return at, !at.IsZero()
}

// noteCertificate notes the certificate that config's connection will have, and returns when it
// expires: zero if it has none, or one that has expired. A server that accepts an expired one did
// not ask for it.
func (d *Dialer) noteCertificate(config *pgx.ConnConfig) time.Time {
	cert, ok := d.options.Server.ClientCertificate(&config.Config)
	if !ok {
		return time.Time{}
	}
	d.certificates.used(cert)
	if !time.Now().Before(cert.NotAfter) {
		return time.Time{}
	}
	return cert.NotAfter
}

// expiredCertificate returns failure.ErrCertificateExpired with the file and the time, if that is
// why dialing failed, and else nil. The server reports it with an alert, which gets lost if the
// server closes first (be_tls_open_server, be-secure-openssl.c, and its caller).
func (d *Dialer) expiredCertificate(failed *pgconn.ConnectError) error {
	cert, ok := d.options.Server.ClientCertificate(failed.Config)
	if !ok || time.Now().Before(cert.NotAfter) || !failure.IsAlert(failed) && !errors.Is(failed, syscall.ECONNRESET) {
		return nil
	}
	name := "that the application gave"
	if cert.File != "" {
		name = "in " + cert.File
	}
	return fmt.Errorf("%w: the one %s, on %s", failure.ErrCertificateExpired, name,
		cert.NotAfter.UTC().Format(time.RFC3339))
}

// logCertificate logs that a certificate has to be renewed.
func (d *Dialer) logCertificate(cert libpq.ClientCertificate) {
	attrs := []any{"pool", d.options.LogPool, "expires", cert.NotAfter}
	if cert.File != "" {
		attrs = append(attrs, "file", cert.File)
	}
	level, text := slog.LevelWarn, "pgsafe: the client certificate is about to expire"
	if !time.Now().Before(cert.NotAfter) {
		level, text = slog.LevelError, "pgsafe: the client certificate has expired"
	}
	d.options.Logger.Log(context.Background(), level, text, attrs...)
}
