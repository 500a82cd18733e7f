package canceler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// A burst of cancels over a slow network, with TLS and the default timeout. A cancel request
// takes five round trips there, and a login seven.
func TestBurst(t *testing.T) {
	const burst, kept = 50, 45
	for _, late := range []time.Duration{0, 25 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(fmt.Sprintf("50 cancels at once over a network that is %v late each way keep 45 connections", late),
			func(t *testing.T) {
				cluster := pgtest.SharedTLS(t)
				database := cluster.Database(t)
				name := database[strings.LastIndex(database, "/")+1:]
				name, _, _ = strings.Cut(name, "?")
				relay := pgtest.NewRelay(t, cluster, late)
				c := canceler.New(canceler.DefaultTimeout)
				defer c.Close()
				conns := connectAll(t, c, relay.URI(name), burst)

				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				errs := make([]error, burst)
				for i, conn := range conns {
					running.Go(func() { errs[i] = conn.Exec(ctx, "select pg_sleep(600)").Close() })
				}
				admin := cluster.Admin(t)
				pgtest.Eventually(t, "all statements run", func() bool {
					var n int
					check.OK(t, admin.QueryRow(t.Context(),
						"select count(*) from pg_stat_activity where datname = $1 and wait_event = 'PgSleep'",
						name).Scan(&n))
					return n == burst
				})
				began := time.Now()
				cancel()
				running.Wait()
				took := time.Since(began)
				var good atomic.Int64
				for i, conn := range conns {
					if !canceler.IsCanceled(errs[i]) {
						check.Equal(t, errors.Is(errs[i], context.Canceled), true)
						continue
					}
					running.Go(func() {
						if canceler.HandlerOf(conn).Clear() == nil && conn.Exec(t.Context(), "select 1").Close() == nil {
							good.Add(1)
						}
					})
				}
				running.Wait()
				t.Logf("%d of %d connections are kept; the last statement returned after %v", good.Load(), burst, took)
				if good.Load() < kept {
					t.Errorf("%d connections are kept", good.Load())
				}
			})
	}
}

// connectAll makes n connections at once.
func connectAll(t *testing.T, c *canceler.Canceler, uri string, n int) []*pgconn.PgConn {
	t.Helper()
	conns := make([]*pgconn.PgConn, n)
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range conns {
		running.Go(func() {
			config, err := pgconn.ParseConfig(uri)
			if err == nil {
				wire.Watch(config)
				c.Watch(config)
				conns[i], err = pgconn.ConnectConfig(context.WithoutCancel(t.Context()), config)
			}
			errs[i] = err
		})
	}
	running.Wait()
	check.OK(t, errors.Join(errs...))
	t.Cleanup(func() {
		for _, conn := range conns {
			running.Go(func() {
				_ = conn.Close(context.Background())
				<-conn.CleanupDone()
			})
		}
		running.Wait()
	})
	return conns
}
