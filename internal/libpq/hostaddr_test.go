package libpq_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// Names under .invalid cannot be resolved: who connects did not try.
func TestHostaddr(t *testing.T) {
	port, closed := pgtest.Shared(t).Port(), pgtest.ClosedPort(t)
	for _, c := range []struct{ name, host, addr, ports string }{
		{"it is dialled, and the host is not looked up", "a.invalid", "127.0.0.1", fmt.Sprint(port)},
		{"it needs no host", "", "127.0.0.1", fmt.Sprint(port)},
		{"it goes before a socket directory", "/nowhere", "127.0.0.1", fmt.Sprint(port)},
		{"it goes before another address", "127.0.0.2", "127.0.0.1", fmt.Sprint(port)},
		{"it may be a list", "a.invalid,b.invalid", "127.0.0.1,127.0.0.1", fmt.Sprintf("%d,%d", closed, port)},
		{"it may be a list without hosts", "", "127.0.0.2,127.0.0.1", fmt.Sprint(port)},
		{"an empty element leaves its host to the resolver", "a.invalid,localhost", "127.0.0.1,", fmt.Sprintf("%d,%d", closed, port)},
		{"so does an empty element at the front", "localhost,a.invalid", ",127.0.0.1", fmt.Sprintf("%d,%d", closed, port)},
		{"one name may have two addresses", "a.invalid,a.invalid", "127.0.0.2,127.0.0.1", fmt.Sprint(port)},
		{"one name may have two ports", "a.invalid,a.invalid", "127.0.0.1,127.0.0.1", fmt.Sprintf("%d,%d", closed, port)},
		{"one name may have an address and be looked up", "localhost,localhost", "127.0.0.2,", fmt.Sprint(port)},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, fmt.Sprintf("host='%s' hostaddr='%s' port=%s user=postgres dbname=postgres sslmode=disable", c.host, c.addr, c.ports))
			check.Equal(t, conn.PgConn().Conn().RemoteAddr().String(), fmt.Sprintf("127.0.0.1:%d", port))
		})
	}
}

func TestHostaddrKeepsTheName(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	uri := func(host string) string {
		return fmt.Sprintf("host=%s hostaddr=127.0.0.1 port=%d user=%s password='%s' dbname=%s sslmode=verify-full sslrootcert=%s",
			host, cluster.Port(), pgtest.TLSUser, pgtest.TLSPassword, pgtest.TLSDatabase, cluster.CAFile())
	}
	t.Run("verify-full compares it with the certificate", func(t *testing.T) {
		conn := connect(t, uri("postgres"))
		check.Equal(t, conn.Config().Host, "postgres")
		if _, err := dialDSN(t, uri("other.invalid")); err == nil || !strings.Contains(err.Error(), "certificate is valid for") {
			t.Errorf("%v", err)
		}
	})
	t.Run("messages have it", func(t *testing.T) {
		_, err := dialDSN(t, fmt.Sprintf("host=a.invalid hostaddr=127.0.0.1 port=%d user=u sslmode=disable", pgtest.ClosedPort(t)))
		if err == nil || !strings.Contains(err.Error(), "(a.invalid)") {
			t.Errorf("%v", err)
		}
	})
}
