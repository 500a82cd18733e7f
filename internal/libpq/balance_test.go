package libpq_test

import (
	"fmt"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestLoadBalanceHosts(t *testing.T) {
	first := pgtest.Shared(t)
	second := pgtest.New(t, pgserver.Options{Settings: map[string]string{"default_transaction_read_only": "on"}})
	ports := func(t *testing.T, n int, hosts, addrs, params string) map[string]int {
		t.Helper()
		c, err := read(fmt.Sprintf("host=%s hostaddr=%s port=%d,%d user=postgres dbname=postgres sslmode=disable %s",
			hosts, addrs, first.Port(), second.Port(), params))
		check.OK(t, err)
		found := map[string]int{}
		for range n {
			conn, err := dial(t, c)
			check.OK(t, err)
			found[show(t, conn, "show port")]++
			check.OK(t, conn.Close(t.Context()))
		}
		return found
	}
	const enough = 40 // all of them on one of two servers: 2 in 2^40
	for _, c := range []struct{ name, hosts string }{
		{"hosts", "a.invalid,b.invalid"},
		{"addresses of one name", "a.invalid,a.invalid"},
	} {
		t.Run("random: "+c.name+" all get connections", func(t *testing.T) {
			check.Equal(t, len(ports(t, enough, c.hosts, "127.0.0.1,127.0.0.1", "load_balance_hosts=random")), 2)
		})
		t.Run("disable: the first of the "+c.name+" gets all", func(t *testing.T) {
			check.Equal(t, ports(t, 10, c.hosts, "127.0.0.1,127.0.0.1", "load_balance_hosts=disable")[fmt.Sprint(first.Port())], 10)
		})
	}
	t.Run("the environment asks for it too", func(t *testing.T) {
		t.Setenv("PGLOADBALANCEHOSTS", "random")
		check.Equal(t, len(ports(t, enough, "a.invalid,b.invalid", "127.0.0.1,127.0.0.1", "")), 2)
	})
	t.Run("target_session_attrs has the last word", func(t *testing.T) {
		check.Equal(t, ports(t, 20, "a.invalid,b.invalid", "127.0.0.1,127.0.0.1",
			"load_balance_hosts=random target_session_attrs=read-only")[fmt.Sprint(second.Port())], 20)
	})
}
