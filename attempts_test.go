package pgsafe_test

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// giveUp has callers run a statement again and again, each for a short time only.
func giveUp(t *testing.T, db *sql.DB, callers, times int) {
	t.Helper()
	inParallel(t, callers, func(int) error {
		for range times {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			_, err := db.ExecContext(ctx, "select 1")
			cancel()
			if kind := pgsafe.KindOf(err); kind != pgsafe.KindTimeout {
				return fmt.Errorf("want a timeout, got %v, which is %v", err, kind)
			}
		}
		return nil
	})
}

func TestConnectionsThatNobodyWaitsForAnyMore(t *testing.T) {
	t.Run("do not pile up at a server that says nothing", func(t *testing.T) {
		t.Parallel()
		counts := map[string]string{}
		for _, name := range []string{"pgx", pgsafe.DriverName} {
			silence := pgtest.NewSilence(t)
			db := open(t, name, fmt.Sprintf("postgres://u@127.0.0.1:%d/d?sslmode=disable&connect_timeout=20", silence.Port()))
			db.SetMaxOpenConns(4)
			giveUp(t, db, 4, 40)
			all, most := silence.Accepted()
			counts[name] = fmt.Sprintf("%d, at most %d at once", all, most)
			if name == pgsafe.DriverName && (all == 0 || most > 4) {
				t.Errorf("%d connections at once", most)
			}
			check.OK(t, db.Close())
			pgtest.Eventually(t, "none is left", func() bool { return silence.Open() == 0 })
		}
		t.Logf("connections of 4 callers who gave up 40 times each, with SetMaxOpenConns(4): pgx %s; pgsafe %s",
			counts["pgx"], counts[pgsafe.DriverName])
	})

	t.Run("nor with a cap of the pool, or another DB beside", func(t *testing.T) {
		t.Parallel()
		silence := pgtest.NewSilence(t)
		db := open(t, pgsafe.DriverName, fmt.Sprintf("postgres://u@127.0.0.1:%d/d?sslmode=disable&pool_max_conns=9&connect_timeout=20", silence.Port()))
		db.SetMaxOpenConns(4)
		giveUp(t, db, 4, 20)
		if _, most := silence.Accepted(); most > 4 {
			t.Errorf("%d connections at once", most)
		}
		other := beside(t, db)
		inParallel(t, 8, func(int) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			_, err := other.ExecContext(ctx, "select 1")
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindTimeout)
			return nil
		})
		if _, most := silence.Accepted(); most > 9 {
			t.Errorf("%d connections at once", most)
		}
	})

	t.Run("are for the callers that come later", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, proxy.URI(databaseOf(t, uri)))
		db.SetMaxOpenConns(2)
		proxy.Hang()
		giveUp(t, db, 4, 10)
		proxy.Flow()
		inParallel(t, 4, func(int) error {
			_, err := db.ExecContext(t.Context(), "select 1")
			return err
		})
		if n := proxy.Connections(); n > 2 {
			t.Errorf("%d connections", n)
		}
	})

	t.Run("and such that have been made keep no caller's context", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		type request [1 << 10]byte
		type key struct{}
		body := new(request)
		held := weak.Make(body)
		conn, err := db.Conn(context.WithValue(t.Context(), key{}, body))
		check.OK(t, err)
		defer conn.Close()
		pgtest.Eventually(t, "the request is gone while its connection is open", func() bool {
			runtime.GC()
			return held.Value() == nil
		})
		check.OK(t, conn.PingContext(t.Context()))
	})

	t.Run("are given up where they get nowhere", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, with(proxy.URI(databaseOf(t, uri)), "connect_timeout=6"))
		db.SetMaxOpenConns(1)
		proxy.Hang()
		giveUp(t, db, 1, 1)
		pgtest.Eventually(t, "the connection is under way", func() bool { return proxy.Connections() == 1 })
		proxy.Lose(pgtest.ToServer | pgtest.ToClient)
		proxy.Flow()
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond) // the first may last longer than that
		defer cancel()
		_, err := db.ExecContext(ctx, "select 1")
		check.OK(t, err)
		check.Equal(t, proxy.Connections(), 2)
	})

	t.Run("take what comes after them along when they fail", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, proxy.URI(databaseOf(t, uri)))
		proxy.Hang()
		giveUp(t, db, 1, 1)
		pgtest.Eventually(t, "the connection is under way", func() bool { return proxy.Connections() == 1 })
		var asked atomic.Bool
		done := make(chan error, 1)
		go func() {
			asked.Store(true)
			_, err := db.ExecContext(t.Context(), "select 1")
			done <- err
		}()
		pgtest.Eventually(t, "another caller waits", func() bool { return asked.Load() && statsOf(t, db).Waiting == 1 })
		check.Equal(t, proxy.Connections(), 1)
		proxy.Cut()
		proxy.Flow()
		check.OK(t, <-done)
		check.Equal(t, proxy.Connections(), 2)
	})
}
