package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestOneTerminatedBackend(t *testing.T) {
	t.Run("a backend that is terminated under load costs its own connection only", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "pool_max_conns=20"))
		c, _ := pgsafe.ConnectorOf(db)
		check.OK(t, c.WarmUp(t.Context(), 20))
		w := watch(t, uri)
		var failed atomic.Int32
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			inParallel(t, 40, func(int) error {
				for ctx.Err() == nil {
					if _, err := db.ExecContext(t.Context(), "select $1::int", 1); err != nil {
						failed.Add(1)
					}
				}
				return nil
			})
		}()
		const kills = 10
		for range kills {
			opened := c.Stats().Opened
			check.OK(t, w.exec("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "+
				"and application_name <> 'watcher' limit 1"))
			pgtest.Eventually(t, "its connection is replaced", func() bool {
				s := c.Stats()
				return s.Opened > opened && s.Connecting == 0
			})
		}
		stop()
		<-done
		if opened := c.Stats().Opened; opened > 20+2*kills {
			t.Errorf("%d kills made %d connections", kills, opened-20)
		}
		t.Logf("%d kills: %d connections opened, %d statements failed", kills, c.Stats().Opened-20, failed.Load())
	})
}

func TestAFullServer(t *testing.T) {
	t.Run("callers of a server without room share the connections that the pool has", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		owner := open(t, "pgx", uri)
		exec(t, owner, "create role crowded login connection limit 5")
		defer exec(t, owner, "drop role crowded")
		u, err := url.Parse(uri)
		check.OK(t, err)
		u.User = url.User("crowded")
		db, err := sql.Open(pgsafe.DriverName, u.String())
		check.OK(t, err)
		defer db.Close()
		inParallel(t, 30, func(int) error {
			for range 20 {
				if _, err := db.ExecContext(t.Context(), "select pg_sleep(0.001)"); err != nil {
					return err
				}
			}
			return nil
		})
		if s := statsOf(t, db); s.Opened-s.Failed-int64(s.Connecting) > 5 {
			t.Errorf("got %+v", s)
		}
	})
}

func TestAFullServerThatStaysFull(t *testing.T) {
	t.Run("a caller that gets no connection within connect_timeout gets the server's error", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		owner := open(t, "pgx", uri)
		exec(t, owner, "create role lonely login connection limit 1")
		defer exec(t, owner, "drop role lonely")
		u, err := url.Parse(with(uri, "connect_timeout=1"))
		check.OK(t, err)
		u.User = url.User("lonely")
		db, err := sql.Open(pgsafe.DriverName, u.String())
		check.OK(t, err)
		defer db.Close()
		defer holdAll(t, db, 1)()
		_, err = db.ExecContext(t.Context(), "select 1")
		check.Equal(t, pgsafe.SQLState(err), "53300")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})
}

func TestTheFloorIsExact(t *testing.T) {
	for params, want := range map[string]int{
		"pool_profile=development": 5, "pool_profile=production": 20, "pool_profile=auth": 2,
		"pool_warmup=5": 5, "pool_min_conns=3": 3,
	} {
		t.Run(fmt.Sprintf("%s opens %d connections at the first use", params, want), func(t *testing.T) {
			t.Parallel()
			db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), params))
			check.OK(t, db.PingContext(t.Context()))
			pgtest.Eventually(t, "they are open", func() bool {
				s := statsOf(t, db)
				return s.Total >= want && s.Connecting == 0
			})
			exec(t, db, "select 1")
			check.Equal(t, statsOf(t, db).Opened, int64(want))
		})
	}
}

func TestNativeCodeWhoseContextEnds(t *testing.T) {
	t.Run("an error of Raw is the context's error and the server's", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		for name, ends := range map[string]error{"canceled": context.Canceled, "late": context.DeadlineExceeded} {
			ctx := whenItRuns(t, watch(t, uri), ends)
			conn, err := db.Conn(t.Context())
			check.OK(t, err)
			err = pgsafe.Raw(conn, func(c *pgx.Conn) error {
				_, err := c.Exec(ctx, sleeps)
				return fmt.Errorf("%s: %w", name, err)
			})
			var pgErr *pgconn.PgError
			check.Equal(t, errors.As(err, &pgErr) && pgErr.Code == "57014", true)
			check.Equal(t, errors.Is(err, ends), true)
			check.OK(t, conn.Close())
		}
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("an error of Raw whose statement the server ended by itself has no context's error", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "statement_timeout=50"))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		err = pgsafe.Raw(conn, func(c *pgx.Conn) error { _, err := c.Exec(t.Context(), sleeps); return err })
		check.Equal(t, pgsafe.SQLState(err), "57014")
		check.Equal(t, errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded), false)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindTimeout)
	})
}

func TestTheBaselineOfASession(t *testing.T) {
	t.Run("what pgconn's own AfterConnect has set is there after a reset", func(t *testing.T) {
		t.Parallel()
		config, err := pgx.ParseConfig(pgtest.Shared(t).Database(t))
		check.OK(t, err)
		config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
			return conn.Exec(ctx, "set statement_timeout = 12345").Close()
		}
		c, err := pgsafe.NewConnectorConfig(config, pgsafe.WithProfile(pgsafe.Profile{MaxConns: 1}))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		exec(t, db, "set statement_timeout = 99; set lock_timeout = 98")
		check.Equal(t, one[string](t, db, "show statement_timeout"), "12345ms")
		check.Equal(t, one[string](t, db, "show lock_timeout"), "0")
		check.Equal(t, c.Stats().Opened, 1)
	})
}
