package connect_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// certified returns a connection string with a client certificate that lives so long, and its
// files.
func certified(t *testing.T, lifetime time.Duration) (dsn, certFile, keyFile string) {
	t.Helper()
	cluster := pgtest.ClientCert(t)
	uri, _, _ := strings.Cut(cluster.Database(t), "?") // first: it takes a part of a short life
	certFile, keyFile, err := cluster.ClientCertWith("postgres", pgserver.CertOptions{Lifetime: lifetime})
	check.OK(t, err)
	return uri + "?sslmode=verify-full&sslrootcert=" + cluster.CAFile() + "&sslcert=" + certFile + "&sslkey=" + keyFile,
		certFile, keyFile
}

func TestClientCertificates(t *testing.T) {
	t.Run("a connection knows when its certificate expires", func(t *testing.T) {
		dsn, _, _ := certified(t, time.Hour)
		f := newFixture(t, dsn, nil)
		_, ok := f.Expiry()
		check.Equal(t, ok, false)
		made := f.dial(t)
		at, ok := f.Expiry()
		check.Equal(t, ok, true)
		check.Equal(t, made.CertificateExpires, at)
		check.Equal(t, time.Until(at) > 50*time.Minute && time.Until(at) < 70*time.Minute, true)
		check.Equal(t, f.log.String(), "")
	})
	for _, version := range []string{"TLSv1.2", "TLSv1.3"} {
		t.Run("an expired certificate is named in the error and in the log, with "+version, func(t *testing.T) {
			dsn, certFile, _ := certified(t, -time.Hour)
			f := newFixture(t, with(dsn, "ssl_min_protocol_version="+version+"&ssl_max_protocol_version="+version), nil)
			explained, raw := f.fails(t)
			check.Equal(t, errors.Is(explained, failure.ErrCertificateExpired), true)
			check.Equal(t, failure.Of(explained), failure.Config)
			check.Equal(t, f.Patience(raw), 0)
			contains(t, explained.Error(), certFile)
			contains(t, explained.Error(), time.Now().Add(-time.Hour).UTC().Format("2006-01-02"))
			contains(t, f.log.String(), `level=ERROR msg="pgsafe: the client certificate has expired" pool=orders`)
		})
	}
	t.Run("a certificate that is replaced works at the next dial", func(t *testing.T) {
		dsn, certFile, keyFile := certified(t, -time.Hour)
		f := newFixture(t, dsn, nil)
		f.fails(t)
		_, cert, key := certified(t, time.Hour)
		for target, source := range map[string]string{certFile: cert, keyFile: key} {
			text, err := os.ReadFile(source)
			check.OK(t, err)
			check.OK(t, os.WriteFile(target, text, 0o600))
		}
		check.Equal(t, f.dial(t).CertificateExpires.IsZero(), false)
	})
	t.Run("an expired certificate that was not needed bounds nothing", func(t *testing.T) {
		_, certFile, keyFile := certified(t, -time.Hour)
		dsn := with(strings.Replace(pgtest.Shared(t).URI("postgres"), "sslmode=disable", "sslmode=prefer", 1),
			"sslcert="+certFile+"&sslkey="+keyFile)
		check.Equal(t, newFixture(t, dsn, nil).dial(t).CertificateExpires.IsZero(), true)
	})
	t.Run("the end of a certificate is reported", func(t *testing.T) {
		dsn, _, _ := certified(t, 3*time.Second)
		expired := make(chan struct{}, 1)
		f := newFixture(t, dsn, func(o *connect.Options) {
			o.OnCertificateExpired = func() { expired <- struct{}{} }
		})
		made := f.dial(t)
		<-expired
		check.Equal(t, time.Now().Before(made.CertificateExpires), false)
	})
	t.Run("a certificate that is about to expire is logged once", func(t *testing.T) {
		dsn, _, _ := certified(t, 10*time.Second)
		f := newFixture(t, dsn, nil)
		pgtest.Eventually(t, "it is logged", func() bool {
			made, err := f.Dial(t.Context())
			if err == nil {
				_ = made.Conn.Close()
			}
			return strings.Contains(f.log.String(), "certificate")
		})
		check.Equal(t, strings.Count(f.log.String(), "certificate"), 1)
	})
}
