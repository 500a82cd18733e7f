package pgsafe_test

import (
	"context"
	"database/sql"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestNetworkThatFails(t *testing.T) {
	t.Run("it is cut under load", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, proxy.URI(databaseOf(t, cluster.Database(t))))
		l := startLoad(t, db)
		for range 5 {
			l.moves(t, 100)
			proxy.Cut()
		}
		started := time.Now()
		l.moves(t, 100)
		l.end()
		check.Equal(t, l.bad, 0)
		t.Logf("cut 5 times under 20 connections: %d failed %v, 100 more queries after %v",
			l.errors(), l.kinds, time.Since(started).Round(time.Millisecond))
	})

	t.Run("it swallows everything", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, with(proxy.URI(databaseOf(t, cluster.Database(t))), "pgsafe_cancel_timeout=100ms", "connect_timeout=2"))
		holdAll(t, db, 2)()
		proxy.Hang()
		inParallel(t, 5, func(worker int) error {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := db.ExecContext(ctx, "select $1::int", worker)
			if kind := pgsafe.KindOf(err); kind != pgsafe.KindTimeout {
				t.Errorf("a statement ended with %v, which is %v", err, kind)
			}
			return nil
		})
		proxy.Flow()
		pgtest.Eventually(t, "it works again", func() bool { return worksWithin(t, db, time.Second) })
	})

	t.Run("it is slow: 200 ms each way", func(t *testing.T) {
		t.Parallel()
		everythingWorks(t, func(proxy *pgtest.Proxy) { proxy.Delay(200 * time.Millisecond) })
	})

	t.Run("it passes a byte at a time, both ways", func(t *testing.T) {
		t.Parallel()
		everythingWorks(t, func(proxy *pgtest.Proxy) { proxy.Drip(1) })
	})

	t.Run("it is a black hole", func(t *testing.T) {
		t.Parallel()
		nothingHangs(t, (*pgtest.Proxy).Hang, (*pgtest.Proxy).Flow)
	})

	t.Run("it resets all connections", func(t *testing.T) {
		t.Parallel()
		nothingHangs(t, (*pgtest.Proxy).Abort, func(*pgtest.Proxy) {})
	})

	t.Run("the server is gone without a word", func(t *testing.T) {
		t.Parallel()
		nothingHangs(t, func(proxy *pgtest.Proxy) { proxy.Lose(pgtest.ToServer | pgtest.ToClient) }, func(*pgtest.Proxy) {})
	})

	t.Run("what is sent to the server is lost", func(t *testing.T) {
		t.Parallel()
		nothingHangs(t, func(proxy *pgtest.Proxy) { proxy.Lose(pgtest.ToServer) }, func(*pgtest.Proxy) {})
	})

	t.Run("what the server sends is lost", func(t *testing.T) {
		t.Parallel()
		nothingHangs(t, func(proxy *pgtest.Proxy) { proxy.Lose(pgtest.ToClient) }, func(*pgtest.Proxy) {})
	})

	t.Run("it gives a byte at a time, with sockets that cannot be looked at", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		var opened atomic.Int64
		c, err := pgsafe.NewConnector(uri, pgsafe.WithBeforeConnect(func(_ context.Context, config *pgx.ConnConfig) error {
			dial := config.DialFunc
			config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
				opened.Add(1)
				conn, err := dial(ctx, network, address)
				return dripping{conn}, err
			}
			return nil
		}))
		check.OK(t, err)
		db := sql.OpenDB(c)
		t.Cleanup(func() { check.OK(t, db.Close()) })
		check.Equal(t, one[int](t, db, "select $1::int + 1", 1), 2)
		endAll(t, cluster, databaseOf(t, uri))
		gone(t, cluster, databaseOf(t, uri))
		check.Equal(t, one[int](t, db, "select $1::int + 1", 1), 2)
		check.Equal(t, opened.Load(), 2)
	})
}

// dripping gives what it reads a byte at a time, and nothing of the socket.
type dripping struct{ net.Conn }

func (c dripping) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), 1)]) }

func worksWithin(t *testing.T, db *sql.DB, d time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	_, err := db.ExecContext(ctx, "select 1")
	return err == nil
}
