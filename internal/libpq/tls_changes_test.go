package libpq_test

import (
	"os"
	"testing"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// overwrite puts the content of one file into another.
func overwrite(t *testing.T, target, source string) {
	t.Helper()
	text, err := os.ReadFile(source)
	check.OK(t, err)
	check.OK(t, os.WriteFile(target, text, 0o600))
}

func TestTLSFilesThatChange(t *testing.T) {
	cluster := pgtest.ClientCert(t)
	// rotated returns a configuration whose certificate is an untrusted one, and its files.
	rotated := func(t *testing.T) (c *libpq.Config, cert, key string) {
		t.Helper()
		cert, key, err := cluster.ClientCertWith("postgres", pgserver.CertOptions{Untrusted: true})
		check.OK(t, err)
		c, err = read(with(cluster.URI(""),
			"sslcert", cert, "sslkey", key))
		check.OK(t, err)
		return c, cert, key
	}
	t.Run("a client certificate and its key are read anew", func(t *testing.T) {
		c, cert, key := rotated(t)
		_, err := dial(t, c)
		check.Equal(t, err != nil, true)
		goodCert, goodKey, err := cluster.ClientCert("postgres")
		check.OK(t, err)
		overwrite(t, cert, goodCert)
		overwrite(t, key, goodKey)
		_, err = dial(t, c)
		check.OK(t, err)
	})
	t.Run("while only one of the two is new, those of before stay in force, and that is told once", func(t *testing.T) {
		c, cert, key := rotated(t)
		goodCert, goodKey, err := cluster.ClientCert("postgres")
		check.OK(t, err)
		overwrite(t, cert, goodCert)
		overwrite(t, key, goodKey)
		_, err = dial(t, c)
		check.OK(t, err)
		var told []string
		c.OnUnusable = func(err *urlfix.Error) { told = append(told, err.Part) }
		nextCert, nextKey, err := cluster.ClientCert("postgres")
		check.OK(t, err)
		overwrite(t, cert, nextCert)
		for range 3 {
			_, err = dial(t, c)
			check.OK(t, err)
		}
		same(t, told, "sslkey")
		overwrite(t, key, nextKey)
		_, err = dial(t, c)
		check.OK(t, err)
		same(t, told, "sslkey")
	})
	t.Run("root certificates are read anew", func(t *testing.T) {
		other := newAuthority(t, "another", nil)
		root := other.file(t)
		c, err := read(with(pgtest.SharedTLS(t).URI(""), "sslrootcert", root))
		check.OK(t, err)
		_, err = dial(t, c)
		check.Equal(t, err != nil, true)
		overwrite(t, root, pgtest.SharedTLS(t).CAFile())
		_, err = dial(t, c)
		check.OK(t, err)
		overwrite(t, root, other.file(t))
		_, err = dial(t, c)
		check.Equal(t, err != nil, true)
	})
}
