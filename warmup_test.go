package pgsafe_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// TestFloorAfterARestart counts the dials of a pool with a floor of 20 and a cap of 50 while its
// server is away, and the pool's connections when the server is back.
func TestFloorAfterARestart(t *testing.T) {
	const floor, limit = 20, 50

	t.Run("a pool fills its floor without a burst of dials while 50 callers come back", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.New(t, pgserver.Options{})
		dials := map[string]string{}
		for _, name := range []string{"pgx", pgsafe.DriverName} {
			proxy := pgtest.NewProxy(t, cluster)
			dsn := proxy.URI("postgres")
			if name == pgsafe.DriverName {
				dsn = with(dsn, fmt.Sprintf("pool_min_idle_conns=%d", floor), fmt.Sprintf("pool_max_conns=%d", limit))
			}
			db := open(t, name, dsn)
			db.SetMaxOpenConns(limit)
			db.SetMaxIdleConns(limit)
			stop := callers(db, limit)
			defer stop()
			pgtest.Eventually(t, "all callers have a connection", func() bool { return proxy.Connections() >= limit })

			check.OK(t, cluster.Halt(pgserver.Fast))
			pgtest.Eventually(t, "the connections are gone", func() bool { return proxy.Open() <= limit/2 })
			proxy.Reset()
			away := time.Now()
			enough := int64(6 * limit)
			if name == pgsafe.DriverName {
				enough = 10 // one caller probes for all
			}
			pgtest.Eventually(t, "there were many dials", func() bool { return proxy.Connections() >= enough })
			check.OK(t, cluster.Restart(t.Context()))
			during, down := proxy.Connections(), time.Since(away)
			before := cluster.Sessions(t, "postgres")
			pgtest.Eventually(t, "the callers are back", func() bool {
				return cluster.Activity(t, "postgres") >= floor
			})
			stop()
			after := cluster.Sessions(t, "postgres")
			dials[name] = fmt.Sprintf("%d dials in %v, then %d connections",
				during, down.Round(time.Millisecond), after-before)
			if name == pgsafe.DriverName {
				// The pauses double up to half a second, and the jitter leaves at least half of it.
				// Each caller may have a dial under way before the first failure.
				if most := limit + 7 + int64(down/(250*time.Millisecond)); during > most {
					t.Errorf("%d dials while the server was away, want at most %d", during, most)
				}
				if after-before > limit {
					t.Errorf("the server accepted %d connections", after-before)
				}
			}
		}
		t.Logf("a restart under %d callers: pgx %s; pgsafe %s", limit, dials["pgx"], dials[pgsafe.DriverName])
	})

	t.Run("a pool fills its floor without callers", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.New(t, pgserver.Options{})
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, with(proxy.URI("postgres"),
			fmt.Sprintf("pool_min_idle_conns=%d", floor), "pool_health_check_period=1h"))
		release := holdAll(t, db, limit)
		check.OK(t, cluster.Halt(pgserver.Fast))
		release()
		pgtest.Eventually(t, "the connections are gone", func() bool { return proxy.Open() <= 1 })
		proxy.Reset()
		pgtest.Eventually(t, "the pool probes the server", func() bool { return proxy.Connections() >= 3 })
		check.OK(t, cluster.Restart(t.Context()))
		probes := proxy.Connections()
		pgtest.Eventually(t, "the floor is filled", func() bool { return cluster.Activity(t, "postgres") >= floor })
		t.Logf("%d dials while the server was away, then %d connections", probes, cluster.Activity(t, "postgres"))
		if n := statsOf(t, db).Total; n < floor || n >= 2*floor {
			t.Errorf("the pool has %d connections", n)
		}
	})
}

func TestFloorOfAClosedPool(t *testing.T) {
	t.Run("a closed pool does not fill its floor", func(t *testing.T) {
		t.Parallel()
		var dials atomic.Int32
		second := make(chan struct{})
		c, err := pgsafe.NewConnector(with(pgtest.Shared(t).Database(t), "pool_min_idle_conns=5"),
			pgsafe.WithBeforeConnect(func(ctx context.Context, _ *pgx.ConnConfig) error {
				if dials.Add(1) == 2 {
					close(second)
					<-ctx.Done()
				}
				return nil
			}))
		check.OK(t, err)
		db := sql.OpenDB(c)
		check.OK(t, db.PingContext(t.Context()))
		<-second
		check.OK(t, db.Close())
		check.Equal(t, dials.Load(), 2)
		check.Equal(t, c.Stats().Connecting, 0)
	})
}

// callers starts n callers that query all the time, with a short pause after each query.
func callers(db *sql.DB, n int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				_, _ = db.ExecContext(ctx, "select $1::int", 1)
				<-tick.C
			}
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
}

func TestConnectingForTheFirstTime(t *testing.T) {
	t.Run("the first connect waits for a server that is about to listen", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.New(t, pgserver.Options{})
		check.OK(t, cluster.Halt(pgserver.Fast))
		db := open(t, pgsafe.DriverName, cluster.URI("postgres"))
		done := make(chan error, 1)
		go func() {
			_, err := db.ExecContext(t.Context(), "select 1")
			done <- err
		}()
		pgtest.Eventually(t, "it was refused", func() bool { return statsOf(t, db).Opened >= 2 })
		check.OK(t, cluster.Restart(t.Context()))
		check.OK(t, <-done)
	})

	t.Run("the first connect to a closed port fails long before connect_timeout", func(t *testing.T) {
		t.Parallel()
		dsn := fmt.Sprintf("postgres://u@127.0.0.1:%d/d?connect_timeout=600", pgtest.ClosedPort(t))
		db := open(t, pgsafe.DriverName, dsn)
		_, err := db.ExecContext(t.Context(), "select 1")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})

	t.Run("the first connect fails at once for an unknown host and a missing socket", func(t *testing.T) {
		t.Parallel()
		for _, dsn := range []string{
			"postgres://u@a.invalid/d", fmt.Sprintf("host=%s user=u", t.TempDir()),
		} {
			db := open(t, pgsafe.DriverName, dsn)
			_, err := db.ExecContext(t.Context(), "select 1")
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
			check.Equal(t, statsOf(t, db).Opened, 1)
		}
	})
}
