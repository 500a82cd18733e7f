package connect_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestPooler(t *testing.T) {
	cluster := pgtest.Shared(t)
	database := databaseIn(t, cluster.Database(t))
	pooler := pgtest.PgBouncer(t, cluster, pgserver.PgBouncerOptions{})
	for _, c := range []struct {
		name      string
		configure func(*pgx.ConnConfig)
		keep      bool
		mode      pgx.QueryExecMode
		nameless  bool
	}{
		{"connections through PgBouncer do not prepare statements by name", func(*pgx.ConnConfig) {}, false,
			pgx.QueryExecModeCacheDescribe, true},
		{"without a cache of descriptions they send each text alone",
			func(c *pgx.ConnConfig) { c.DescriptionCacheCapacity = 0 }, false, pgx.QueryExecModeExec, true},
		{"a mode that the application chose stays", func(*pgx.ConnConfig) {}, true, pgx.QueryExecModeCacheStatement, false},
		{"a mode without names stays", func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol },
			false, pgx.QueryExecModeSimpleProtocol, true},
		{"PgBouncer is recognised where its number passes for a process id", func(c *pgx.ConnConfig) {
			dial := c.DialFunc
			c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				return &smallPID{Conn: conn}, err
			}
		}, false, pgx.QueryExecModeCacheDescribe, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fixtureFrom(t, pooler.URI(database), c.configure, func(o *connect.Options) { o.KeepExecMode = c.keep })
			for range 2 { // the first asks, the second knows
				made := f.dial(t)
				check.Equal(t, made.Pooled, true)
				check.Equal(t, made.Nameless, c.nameless)
				check.Equal(t, made.Conn.Conn().Config().DefaultQueryExecMode, c.mode)
				if !c.nameless {
					continue // its statements meet others by the same name
				}
				var got int
				check.OK(t, made.Conn.Conn().QueryRow(t.Context(), "select $1::int", 42).Scan(&got))
				check.Equal(t, got, 42)
			}
			check.Equal(t, strings.Count(f.log.String(), "lead to a pooler"), 1)
		})
	}
	t.Run("a known server costs no further round trip", func(t *testing.T) {
		proxy := pgtest.NewProxy(t, cluster)
		f := newFixture(t, proxy.URI(database), nil)
		f.dial(t)
		check.Equal(t, proxy.Messages()['Q'], 1)
		f.dial(t)
		check.Equal(t, proxy.Messages()['Q'], 1)
	})
	t.Run("a pooler without a free server connection does not pass for a server", func(t *testing.T) {
		full := pgtest.PgBouncer(t, cluster, pgserver.PgBouncerOptions{Settings: map[string]string{
			"default_pool_size": "1", "query_wait_timeout": "1"}})
		holder := newFixture(t, full.URI(database), nil).dial(t)
		_, err := holder.Conn.Conn().Exec(t.Context(), "begin")
		check.OK(t, err)
		f := newFixture(t, full.URI(database), nil)
		if made, err := f.Dial(t.Context()); err == nil {
			_ = made.Conn.Close()
			t.Error("it is taken for a connection")
		}
		_, err = holder.Conn.Conn().Exec(t.Context(), "rollback")
		check.OK(t, err)
		check.Equal(t, f.dial(t).Pooled, true)
	})
}

// smallPID is a connection on which the server's process id is replaced by a small one.
type smallPID struct {
	net.Conn
	done bool
}

func (c *smallPID) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	keyData := []byte{'K', 0, 0, 0, 12}
	if at := bytes.Index(b[:n], keyData); !c.done && at >= 0 && at+len(keyData)+4 <= n {
		binary.BigEndian.PutUint32(b[at+len(keyData):], 4711)
		c.done = true
	}
	return n, err
}
