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

// TestTheFloorAfterARestart counts how often a pool with a floor of 20 and a cap of 50 knocks at a server that is away, and
// how many connections it has when that is back.
func TestTheFloorAfterARestart(t *testing.T) {
	const floor, limit = 20, 50

	t.Run("is filled up without a stampede while 50 callers come back", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.New(t, pgserver.Options{})
		attempts := map[string]string{}
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
			pgtest.Eventually(t, "the server was tried again and again", func() bool { return proxy.Connections() >= enough })
			check.OK(t, cluster.Restart(t.Context()))
			during, down := proxy.Connections(), time.Since(away)
			before := cluster.Sessions(t, "postgres")
			pgtest.Eventually(t, "the callers are back", func() bool { return cluster.Activity(t, "postgres") >= floor })
			stop()
			let := cluster.Sessions(t, "postgres")
			attempts[name] = fmt.Sprintf("%d attempts in %v, then %d connections", during, down.Round(time.Millisecond), let-before)
			if name == pgsafe.DriverName {
				// The pauses double up to half a second, of which at least the half is waited. Before the first failure
				// each caller may have a dial under way.
				if most := limit + 7 + int64(down/(250*time.Millisecond)); during > most {
					t.Errorf("%d attempts while the server was away, want at most %d", during, most)
				}
				if let-before > limit {
					t.Errorf("%d connections were let in", let-before)
				}
			}
		}
		t.Logf("a restart under %d callers: pgx %s; pgsafe %s", limit, attempts["pgx"], attempts[pgsafe.DriverName])
	})

	t.Run("is filled up when nobody comes", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.New(t, pgserver.Options{})
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, with(proxy.URI("postgres"), fmt.Sprintf("pool_min_idle_conns=%d", floor), "pool_health_check_period=1h"))
		release := holdAll(t, db, limit)
		check.OK(t, cluster.Halt(pgserver.Fast))
		release()
		pgtest.Eventually(t, "the connections are gone", func() bool { return proxy.Open() <= 1 })
		proxy.Reset()
		pgtest.Eventually(t, "it knocks", func() bool { return proxy.Connections() >= 3 })
		check.OK(t, cluster.Restart(t.Context()))
		knocked := proxy.Connections()
		pgtest.Eventually(t, "the floor is there", func() bool { return cluster.Activity(t, "postgres") >= floor })
		t.Logf("%d attempts while the server was away, %d connections then", knocked, cluster.Activity(t, "postgres"))
		if n := statsOf(t, db).Total; n < floor || n >= 2*floor { // pgxpool fills it up as well
			t.Errorf("the pool has %d connections", n)
		}
	})
}

func TestTheFloorOfAPoolThatCloses(t *testing.T) {
	t.Run("a pool that is closed does not fill up its floor", func(t *testing.T) {
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

// callers has n of them query all the time, and wait a little where that fails.
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
	t.Run("waits for a server that is about to listen", func(t *testing.T) {
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

	t.Run("tells of an address where nobody is before connect_timeout is over", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, fmt.Sprintf("postgres://u@127.0.0.1:%d/d?connect_timeout=600", pgtest.ClosedPort(t)))
		_, err := db.ExecContext(t.Context(), "select 1")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})

	t.Run("tells at once of a name that nobody has, and of a socket that is not there", func(t *testing.T) {
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
