package pgsafe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestDefaultPool(t *testing.T) {
	t.Run("the connection of a handle that database/sql closes goes back to the pool", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		think(t, db, 20, 50)
		stats := statsOf(t, db)
		if stats.Opened > 25 {
			t.Errorf("20 goroutines opened %d connections, want at most 25", stats.Opened)
		}
		if closed := db.Stats().MaxIdleClosed; closed < 100 {
			t.Errorf("database/sql closed only %d handles: the test shows nothing", closed)
		}
		check.Equal(t, stats.Total, watch(t, uri).backends())
	})
	t.Run("a pool has no cap unless one is set", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		holdAll(t, db, 30)
		check.Equal(t, statsOf(t, db).InUse, 30)
		check.Equal(t, statsOf(t, db).Max, 0)
	})
	t.Run("rows may be held open while another statement runs", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		inParallel(t, 10, func(int) error {
			rows, err := db.QueryContext(t.Context(), "select generate_series(1, 10)")
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				if _, err := db.ExecContext(t.Context(), "select 1"); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	})
	t.Run("a handle does not ping at its second use", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, proxy.URI("postgres"))
		check.OK(t, db.PingContext(t.Context()))
		exec(t, db, "select 1")
		before := proxy.RoundTrips()
		for range 10 {
			exec(t, db, "select 1")
		}
		check.Equal(t, proxy.RoundTrips()-before, 10)
	})
}

func TestCap(t *testing.T) {
	for _, maxIdle := range []int{-1, 0, 1, 2, 3, 100} {
		for _, maxOpen := range []int{0, 2, 3, 10} {
			name := fmt.Sprintf("3 connections serve 30 goroutines with SetMaxIdleConns(%d) and SetMaxOpenConns(%d)",
				maxIdle, maxOpen)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				uri := pgtest.Shared(t).Database(t)
				db := open(t, pgsafe.DriverName, with(uri, "pool_max_conns=3", "pool_acquire_timeout=30s"))
				db.SetMaxIdleConns(maxIdle)
				db.SetMaxOpenConns(maxOpen)
				inParallel(t, 30, func(int) error {
					for range 20 {
						if _, err := db.ExecContext(t.Context(), "select pg_sleep(0.0005)"); err != nil {
							return err
						}
					}
					return nil
				})
				s := statsOf(t, db)
				if s.Opened > 3 {
					t.Errorf("%d connections were opened, the cap is 3", s.Opened)
				}
				unused(t, db)
			})
		}
	}
	t.Run("a profile in the environment caps the pool of sql.Open", func(t *testing.T) {
		t.Setenv("PGSAFE_PROFILE", "auth")
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		check.Equal(t, statsOf(t, db).Max, 7)
	})
	t.Run("the connection string outranks the environment, and WithProfile outranks both", func(t *testing.T) {
		t.Setenv("PGSAFE_PROFILE", "auth")
		uri := with(pgtest.Shared(t).Database(t), "pool_profile=development")
		check.Equal(t, statsOf(t, open(t, pgsafe.DriverName, uri)).Max, 15)
		db, err := pgsafe.Open(uri, pgsafe.WithProfile(pgsafe.Profile{MaxConns: 2}))
		check.OK(t, err)
		defer db.Close()
		check.Equal(t, statsOf(t, db).Max, 2)
	})
}

func TestAcquire(t *testing.T) {
	t.Run("the error of a failed acquire has the pool's numbers and the longest hold", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName,
			with(pgtest.Shared(t).Database(t), "pool_max_conns=2", "pool_acquire_timeout=2s"))
		holdAll(t, db, 2)
		err := db.PingContext(t.Context())
		var acquireErr *pgsafe.AcquireError
		if !errors.As(err, &acquireErr) {
			t.Fatalf("%v (%T) is no *AcquireError", err, err)
		}
		check.Equal(t, acquireErr.InUse, 2)
		check.Equal(t, acquireErr.Max, 2)
		check.Equal(t, acquireErr.Waiting, 1)
		check.Equal(t, acquireErr.LongestHold > 0, true)
		check.Equal(t, acquireErr.Timeout(), true)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindPoolExhausted)
		check.Equal(t, pgsafe.KindOf(err).Transient(), true)
		check.Equal(t, errors.Is(err, context.DeadlineExceeded), false)
		if !strings.Contains(err.Error(), `": 2 of 2 in use, 1 waiting, longest held `) {
			t.Error(err)
		}
	})
	t.Run("a failed acquire at the caller's deadline is context.DeadlineExceeded", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		holdAll(t, db, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := db.PingContext(ctx)
		check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindTimeout)
		var acquireErr *pgsafe.AcquireError
		check.Equal(t, errors.As(err, &acquireErr), true)
	})
	t.Run("a caller whose context is cancelled gets context.Canceled", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		holdAll(t, db, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- db.PingContext(ctx) }()
		waiting(t, db, 1)
		cancel()
		check.Equal(t, pgsafe.KindOf(<-done), pgsafe.KindCanceled)
	})
	t.Run("waiters are served first come, first served", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		release := holdAll(t, db, 1)
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				if err := tx.Rollback(); err != nil {
					t.Error(err)
				}
			})
			waiting(t, db, i+1)
		}
		release()
		wg.Wait()
		check.Equal(t, fmt.Sprint(order), "[0 1 2 3 4 5 6 7 8 9]")
	})
}

func TestHandles(t *testing.T) {
	// database/sql does not see the callers of another DB on the same connector.
	capped := func(t *testing.T, more ...string) (db, other *sql.DB) {
		db = open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), append(more, "pool_max_conns=1")...))
		return db, beside(t, db)
	}
	t.Run("a handle that database/sql keeps idle has no connection", func(t *testing.T) {
		t.Parallel()
		db, _ := capped(t)
		check.OK(t, db.PingContext(t.Context()))
		check.Equal(t, db.Stats().Idle, 1)
		s := statsOf(t, db)
		check.Equal(t, [3]int{s.Total, s.InUse, s.Idle}, [3]int{1, 0, 1})
	})
	t.Run("an idle handle leaves its connection to other callers, and gets one again later", func(t *testing.T) {
		t.Parallel()
		db, other := capped(t)
		check.OK(t, db.PingContext(t.Context()))
		release := holdAll(t, other, 1)
		check.Equal(t, db.Stats().Idle, 1)
		done := make(chan error)
		go func() { done <- db.PingContext(t.Context()) }()
		waiting(t, db, 1)
		release()
		check.OK(t, <-done)
		check.Equal(t, db.Stats().OpenConnections, 1)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a sql.Conn takes a connection at its first use and keeps it until it is closed", func(t *testing.T) {
		t.Parallel()
		db, other := capped(t)
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		check.OK(t, other.PingContext(t.Context()))
		check.Equal(t, statsOf(t, db).InUse, 0)
		check.OK(t, conn.PingContext(t.Context()))
		check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error { return c.Ping(t.Context()) }))
		check.Equal(t, statsOf(t, db).InUse, 1)
		check.OK(t, conn.Close())
		unused(t, db) // the reset after native code is over
	})
	// Every method of a handle that can get no connection returns the reason.
	for name, ask := range map[string]func(ctx context.Context, conn *sql.Conn) error{
		"Exec": func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, "select 1")
			return err
		},
		"Query": func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.QueryContext(ctx, "select 1")
			return err
		},
		"Prepare": func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.PrepareContext(ctx, "select 1")
			return err
		},
		"Begin": func(ctx context.Context, conn *sql.Conn) error { _, err := conn.BeginTx(ctx, nil); return err },
		"Ping":  func(ctx context.Context, conn *sql.Conn) error { return conn.PingContext(ctx) },
		"Raw": func(_ context.Context, conn *sql.Conn) error {
			return pgsafe.Raw(conn, func(*pgx.Conn) error { return nil })
		},
	} {
		t.Run("a handle that can get no connection reports it from "+name+", and works later", func(t *testing.T) {
			t.Parallel()
			db, other := capped(t, "pool_acquire_timeout=200ms")
			check.OK(t, db.PingContext(t.Context()))
			conn, err := db.Conn(t.Context())
			check.OK(t, err)
			release := holdAll(t, other, 1)
			for range 2 {
				check.Equal(t, pgsafe.KindOf(ask(t.Context(), conn)), pgsafe.KindPoolExhausted)
			}
			check.OK(t, conn.Raw(func(driverConn any) error {
				if driverConn.(interface{ Conn() *pgx.Conn }).Conn() != nil {
					return errors.New("a handle without a connection shows one")
				}
				return nil
			}))
			release()
			check.OK(t, conn.PingContext(t.Context()))
			check.OK(t, conn.Close())
		})
	}
	t.Run("a prepared statement that can get no connection reports it", func(t *testing.T) {
		t.Parallel()
		db, other := capped(t, "pool_acquire_timeout=200ms")
		stmt, err := db.PrepareContext(t.Context(), "select 1")
		check.OK(t, err)
		defer stmt.Close()
		holdAll(t, other, 1)
		_, err = stmt.ExecContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindPoolExhausted)
		_, err = stmt.QueryContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindPoolExhausted)
	})
	t.Run("a prepared statement runs on a connection that was opened later", func(t *testing.T) {
		t.Parallel()
		db, other := capped(t)
		stmt, err := db.PrepareContext(t.Context(), "select $1::int")
		check.OK(t, err)
		defer stmt.Close()
		raw(t, t.Context(), other, func(c *pgx.Conn) error { return c.Close(t.Context()) })
		var n int
		check.OK(t, stmt.QueryRowContext(t.Context(), 7).Scan(&n))
		check.Equal(t, n, 7)
		check.Equal(t, statsOf(t, db).Opened, 2)
	})
	t.Run("two databases on one connector do not starve each other", func(t *testing.T) {
		t.Parallel()
		c, err := pgsafe.NewConnector(with(pgtest.Shared(t).Database(t), "pool_max_conns=2"))
		check.OK(t, err)
		a, b := sql.OpenDB(c), sql.OpenDB(c)
		inParallel(t, 10, func(worker int) error {
			for i := range 50 {
				db := a
				if (worker+i)%2 == 0 {
					db = b
				}
				if _, err := db.ExecContext(t.Context(), "select 1"); err != nil {
					return err
				}
			}
			return nil
		})
		check.OK(t, a.Close())
		check.Equal(t, errors.Is(b.PingContext(t.Context()), pgsafe.ErrClosed), true)
		check.OK(t, b.Close())
	})
}

// TestHandlesAtRandom runs all operations on handles at once. Random limits change meanwhile, and
// some callers give up. Every other caller is served, no caller sees an error from the pool, and
// the cap holds.
func TestHandlesAtRandom(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("every caller is served with seed %d", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 2))
			limit := 1 + rnd.IntN(4)
			uri := pgtest.Shared(t).Database(t)
			db := open(t, pgsafe.DriverName,
				with(uri, fmt.Sprintf("pool_max_conns=%d", limit), "pool_acquire_timeout=60s"))
			c, _ := pgsafe.ConnectorOf(db)
			stmt, err := db.PrepareContext(t.Context(), "select $1::int")
			check.OK(t, err)
			defer stmt.Close()
			other := beside(t, db)
			inParallel(t, 16, func(worker int) error {
				rnd := rand.New(rand.NewPCG(seed, uint64(worker)))
				for range 60 {
					if err := randomUse(t.Context(), rnd, db, stmt, other); err != nil {
						return err
					}
				}
				return nil
			})
			unused(t, db)
			if n := c.Stats().Total; n > limit {
				t.Errorf("%d connections are open, the cap is %d", n, limit)
			}
		})
	}
}

// randomUse does one of the things that applications do with a database.
func randomUse(ctx context.Context, rnd *rand.Rand, db *sql.DB, stmt *sql.Stmt, other *sql.DB) error {
	switch rnd.IntN(10) {
	case 0:
		db.SetMaxIdleConns(rnd.IntN(6) - 1)
	case 1:
		db.SetMaxOpenConns(rnd.IntN(8))
	case 2: // gives up, perhaps while it waits
		ctx, cancel := context.WithTimeout(ctx, upTo(rnd, 3*time.Millisecond))
		defer cancel()
		conn, err := db.Conn(ctx)
		if err == nil {
			err = conn.Close()
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("db.Conn: %w", err)
		}
	case 3: // keeps a connection without using it at once
		conn, err := db.Conn(ctx)
		if err != nil {
			return fmt.Errorf("db.Conn: %w", err)
		}
		<-time.After(upTo(rnd, 40*time.Millisecond))
		err = conn.PingContext(ctx)
		return errors.Join(err, conn.Close())
	case 4:
		if _, err := other.ExecContext(ctx, "select 1"); err != nil {
			return fmt.Errorf("another DB's Exec: %w", err)
		}
	case 5:
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("db.BeginTx: %w", err)
		}
		_, err = tx.ExecContext(ctx, "select 1")
		return errors.Join(err, tx.Rollback())
	case 6, 7:
		var n int
		if err := stmt.QueryRowContext(ctx, 1).Scan(&n); err != nil {
			return fmt.Errorf("stmt.QueryRow: %w", err)
		}
	default:
		if _, err := db.ExecContext(ctx, "select 1"); err != nil {
			return fmt.Errorf("db.Exec: %w", err)
		}
	}
	return nil
}

func TestPreparedStatements(t *testing.T) {
	// roundTrips counts the round trips of 20 goroutines with one prepared statement. With pgx's
	// own driver, database/sql keeps all connections idle, the best case for pgx.
	roundTrips := func(t *testing.T, driverName string, params ...string) (trips, parsed, closed int64) {
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, driverName, with(proxy.URI("postgres"), params...))
		if driverName == "pgx" {
			db.SetMaxIdleConns(100)
		}
		stmt, err := db.PrepareContext(t.Context(), "select $1::int")
		check.OK(t, err)
		inParallel(t, 20, func(worker int) error {
			for range 50 {
				if _, err := stmt.ExecContext(t.Context(), worker); err != nil {
					return err
				}
			}
			return nil
		})
		check.OK(t, stmt.Close())
		m := proxy.Messages()
		return proxy.RoundTrips(), m['P'], m['C']
	}
	for name, params := range map[string][]string{
		"the default pool":              nil,
		"a saturated pool":              {"pool_max_conns=4"},
		"a saturated pool of one":       {"pool_max_conns=1"},
		"a pool with a profile":         {"pool_profile=production"},
		"a pool as large as the demand": {"pool_max_conns=20"},
	} {
		t.Run("prepared statements cost no more round trips than with pgx in "+name, func(t *testing.T) {
			t.Parallel()
			trips, parsed, closed := roundTrips(t, pgsafe.DriverName, params...)
			pgxTrips, pgxParsed, pgxClosed := roundTrips(t, "pgx")
			t.Logf("pgsafe: %d round trips, %d Parse, %d Close; pgx: %d, %d, %d",
				trips, parsed, closed, pgxTrips, pgxParsed, pgxClosed)
			if trips > pgxTrips {
				t.Errorf("pgsafe needed %d round trips, pgx %d", trips, pgxTrips)
			}
			check.Equal(t, closed, 0)
		})
	}
	const numbered = "select count(*) from pg_prepared_statements where statement ~ '^select [0-9]+ '"
	t.Run("statement_cache_capacity bounds the prepared statements of a connection", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "statement_cache_capacity=10"))
		db.SetMaxOpenConns(1)
		for i := range 50 {
			stmt, err := db.PrepareContext(t.Context(), fmt.Sprintf("select %d + $1::int", i))
			check.OK(t, err)
			check.OK(t, stmt.QueryRowContext(t.Context(), 1).Scan(new(int)))
			check.OK(t, stmt.Close())
		}
		if n := one[int](t, db, numbered); n > 10 {
			t.Errorf("%d statements are prepared", n)
		}
		check.Equal(t, one[int](t, db, numbered+" and statement like 'select 49 %'"), 1)
	})
	t.Run("statement_cache_capacity bounds the prepared statements that never ran", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "statement_cache_capacity=10"))
		db.SetMaxOpenConns(1)
		for i := range 50 {
			stmt, err := db.PrepareContext(t.Context(), fmt.Sprintf("select %d + $1::int", i))
			check.OK(t, err)
			check.OK(t, stmt.Close())
		}
		check.Equal(t, one[int](t, db, numbered), 10)
	})
	t.Run("more prepared statements may be open than the cache holds", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "statement_cache_capacity=2"))
		db.SetMaxOpenConns(1)
		var stmts []*sql.Stmt
		for i := range 10 {
			stmt, err := db.PrepareContext(t.Context(), fmt.Sprintf("select %d", i))
			check.OK(t, err)
			stmts = append(stmts, stmt)
		}
		for i, stmt := range stmts {
			var n int
			check.OK(t, stmt.QueryRowContext(t.Context()).Scan(&n))
			check.Equal(t, n, i)
			check.OK(t, stmt.Close())
		}
	})
	t.Run("prepared statements end with Close if the capacity is zero, as with pgx", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName,
			with(pgtest.Shared(t).Database(t), "statement_cache_capacity=0", "default_query_exec_mode=exec"))
		db.SetMaxOpenConns(1)
		for i := range 5 {
			stmt, err := db.PrepareContext(t.Context(), fmt.Sprintf("select %d", i))
			check.OK(t, err)
			check.OK(t, stmt.Close())
		}
		if n := one[int](t, db, "select count(*) from pg_prepared_statements"); n > 1 {
			t.Errorf("%d statements are left on the server", n)
		}
	})
	t.Run("a dead connection that cannot drop a prepared statement reports it", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "statement_cache_capacity=1"))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		stmt, err := conn.PrepareContext(t.Context(), "select 1")
		check.OK(t, err)
		check.OK(t, stmt.Close())
		watch(t, uri).terminate()
		_, err = conn.PrepareContext(t.Context(), "select 2")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})
	t.Run("a prepared statement that no longer parses works again once it does", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		exec(t, db, "create table gone(i int)")
		stmt, err := db.PrepareContext(t.Context(), "select * from gone")
		check.OK(t, err)
		defer stmt.Close()
		exec(t, db, "drop table gone")
		for range 3 {
			_, err = stmt.ExecContext(t.Context())
			check.Equal(t, pgsafe.SQLState(err), "42P01")
		}
		exec(t, db, "create table gone(i int)")
		_, err = stmt.ExecContext(t.Context())
		check.OK(t, err)
	})
	t.Run("a closed prepared statement does not affect later statements with its text", func(t *testing.T) {
		t.Parallel()
		for name, disturb := range map[string]string{
			"the table changed":     "alter table t add column j int",
			"the session was reset": "discard all",
		} {
			t.Run("a text can be prepared and run again after "+name, func(t *testing.T) {
				db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
				db.SetMaxOpenConns(1)
				exec(t, db, "create table t(i int)")
				prepareAndRun := func() {
					t.Helper()
					stmt, err := db.PrepareContext(t.Context(), "select * from t")
					check.OK(t, err)
					_, err = stmt.ExecContext(t.Context())
					check.OK(t, err)
					check.OK(t, stmt.Close())
				}
				prepareAndRun()
				exec(t, db, disturb)
				exec(t, db, "select * from t")
				prepareAndRun()
			})
		}
	})
	t.Run("a closed prepared statement does not change how arguments are encoded", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "default_query_exec_mode=simple_protocol"))
		stmt, err := db.PrepareContext(t.Context(), "select $1::text")
		check.OK(t, err)
		check.OK(t, stmt.Close())
		check.Equal(t, one[string](t, db, "select $1::text", 42), "42")
	})
	t.Run("a statement that the server has deallocated is prepared again", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		stmt, err := db.PrepareContext(t.Context(), "select 5")
		check.OK(t, err)
		defer stmt.Close()
		exec(t, db, "do $$ begin execute 'deallocate all'; end $$")
		var n int
		check.OK(t, stmt.QueryRowContext(t.Context()).Scan(&n))
		check.Equal(t, n, 5)
	})
}

func TestWarmUp(t *testing.T) {
	t.Run("WarmUp opens connections up to the number asked for", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		c, _ := pgsafe.ConnectorOf(db)
		check.OK(t, c.WarmUp(t.Context(), 7))
		check.Equal(t, watch(t, uri).backends(), 7)
		check.OK(t, c.WarmUp(t.Context(), 5))
		check.Equal(t, c.Stats().Opened, 7)
		check.OK(t, c.WarmUp(t.Context(), 9))
		check.Equal(t, c.Stats().Opened, 9)
	})
	t.Run("WarmUp counts a connection that is being opened once", func(t *testing.T) {
		t.Parallel()
		var connections atomic.Int32
		prepared, release := make(chan struct{}), make(chan struct{})
		after := func(context.Context, *pgx.Conn) error {
			if connections.Add(1) == 2 {
				close(prepared)
				<-release
			}
			return nil
		}
		c, err := pgsafe.NewConnector(pgtest.Shared(t).Database(t), pgsafe.WithAfterConnect(after))
		check.OK(t, err)
		defer c.Close()
		check.OK(t, c.WarmUp(t.Context(), 1))
		slow := make(chan error, 1)
		go func() { slow <- c.WarmUp(t.Context(), 2) }()
		<-prepared
		more := make(chan error, 1)
		go func() { more <- c.WarmUp(t.Context(), 3) }()
		pgtest.Eventually(t, "the third is made", func() bool { return c.Stats().Idle == 2 })
		close(release)
		check.OK(t, <-slow)
		check.OK(t, <-more)
		check.Equal(t, c.Stats().Opened, 3)
	})
	t.Run("concurrent warm-ups beside connections in use do not wait for each other", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t),
			"pool_max_conns=10", "pool_warmup=10", "pool_acquire_timeout=20s"))
		holdAll(t, db, 1)
		c, _ := pgsafe.ConnectorOf(db)
		inParallel(t, 10, func(i int) error {
			if i%2 == 0 {
				return db.PingContext(t.Context())
			}
			return c.WarmUp(t.Context(), 10)
		})
	})
	t.Run("WarmUp refuses a number above the cap", func(t *testing.T) {
		t.Parallel()
		c, err := pgsafe.NewConnector(with(pgtest.Shared(t).Database(t), "pool_max_conns=2"))
		check.OK(t, err)
		defer c.Close()
		if err := c.WarmUp(t.Context(), 3); err == nil {
			t.Fatal("no error")
		}
	})
	t.Run("WarmUp returns the first error", func(t *testing.T) {
		t.Parallel()
		c, err := pgsafe.NewConnector(fmt.Sprintf("postgres://u:geheim1234@127.0.0.1:%d/db", pgtest.ClosedPort(t)))
		check.OK(t, err)
		defer c.Close()
		err = c.WarmUp(t.Context(), 5)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})
	t.Run("WarmUp of a closed connector returns ErrClosed", func(t *testing.T) {
		t.Parallel()
		c, err := pgsafe.NewConnector("")
		check.OK(t, err)
		check.OK(t, c.Close())
		check.Equal(t, errors.Is(c.WarmUp(t.Context(), 1), pgsafe.ErrClosed), true)
	})
	t.Run("pool_warmup opens connections in the background at the first use", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "pool_warmup=6", "pool_min_conns=2"))
		check.Equal(t, watch(t, uri).backends(), 0)
		check.OK(t, db.PingContext(t.Context()))
		w := watch(t, uri)
		pgtest.Eventually(t, "6 connections are open", func() bool { return w.backends() >= 6 })
	})
	t.Run("the production profile opens 20 connections, and the first caller may open one more", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "pool_profile=production"))
		check.OK(t, db.PingContext(t.Context()))
		w := watch(t, uri)
		pgtest.Eventually(t, "20 connections are open", func() bool { return w.backends() >= 20 })
		check.OK(t, db.PingContext(t.Context()))
		if n := statsOf(t, db).Opened; n > 21 {
			t.Errorf("%d connections were opened", n)
		}
	})
	t.Run("the pool closes idle connections above its floor and keeps the floor", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "pool_min_idle_conns=3", "pool_health_check_period=100ms",
			"pool_max_conn_idle_time=200ms"))
		check.OK(t, db.PingContext(t.Context()))
		w := watch(t, uri)
		pgtest.Eventually(t, "3 connections are open", func() bool { return w.backends() == 3 })
		c, _ := pgsafe.ConnectorOf(db)
		check.OK(t, c.WarmUp(t.Context(), 8))
		pgtest.Eventually(t, "idle connections above 3 are closed", func() bool { return w.backends() == 3 })
		if s := c.Stats(); s.ClosedForIdle < 5 {
			t.Errorf("got %+v", s)
		}
	})
}

// upTo returns a random duration below d.
func upTo(rnd *rand.Rand, d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }

// think makes the load of an ordinary service: each of n goroutines runs a statement and then does
// something else for a while.
func think(t testing.TB, db *sql.DB, n, times int) {
	t.Helper()
	inParallel(t, n, func(worker int) error {
		rnd := rand.New(rand.NewPCG(1, uint64(worker)))
		for range times {
			if _, err := db.ExecContext(t.Context(), "select 1"); err != nil {
				return err
			}
			<-time.After(upTo(rnd, 4*time.Millisecond))
		}
		return nil
	})
}

// holdAll holds n connections, each with an open transaction, until the test ends or the caller
// releases them.
func holdAll(t testing.TB, db *sql.DB, n int) (release func()) {
	t.Helper()
	var txs []*sql.Tx
	for range n {
		tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
		check.OK(t, err)
		txs = append(txs, tx)
	}
	release = sync.OnceFunc(func() {
		for _, tx := range txs {
			_ = tx.Rollback() // the database may be closed by now
		}
	})
	t.Cleanup(release)
	return release
}

// beside opens another DB on the connector of db. Closing that DB does not close the connector.
func beside(t testing.TB, db *sql.DB) *sql.DB {
	t.Helper()
	c, _ := pgsafe.ConnectorOf(db)
	other := sql.OpenDB(struct{ driver.Connector }{c})
	t.Cleanup(func() { check.OK(t, other.Close()) })
	return other
}

// waiting waits until n callers wait for a connection.
func waiting(t testing.TB, db *sql.DB, n int) {
	t.Helper()
	pgtest.Eventually(t, fmt.Sprintf("%d callers wait", n), func() bool { return statsOf(t, db).Waiting == n })
}

// unused waits until no caller has a connection or waits for one. database/sql may still be opening
// a handle for a caller that got another one or gave up.
func unused(t testing.TB, db *sql.DB) {
	t.Helper()
	pgtest.Eventually(t, "no connection is in use", func() bool {
		s := statsOf(t, db)
		return s.InUse == 0 && s.Waiting == 0
	})
}

func statsOf(t testing.TB, db *sql.DB) pgsafe.Stats {
	t.Helper()
	c, ok := pgsafe.ConnectorOf(db)
	if !ok {
		t.Fatal("the database is not pgsafe's")
	}
	return c.Stats()
}

// watcher queries the activity of a database on its own connection.
type watcher struct {
	t    testing.TB
	conn *pgx.Conn
}

func watch(t testing.TB, uri string) *watcher {
	t.Helper()
	config, err := pgx.ParseConfig(uri)
	check.OK(t, err)
	config.RuntimeParams["application_name"] = "watcher"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, conn.Close(context.WithoutCancel(t.Context()))) })
	return &watcher{t, conn}
}

// terminate ends all connections to the database except the watcher's.
func (w *watcher) terminate() {
	w.t.Helper()
	_, err := w.conn.Exec(w.t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid()`)
	check.OK(w.t, err)
	pgtest.Eventually(w.t, "the connections are gone", func() bool { return w.backends() == 0 })
}

// backends counts the connections to the database that the server sees.
func (w *watcher) backends() int {
	w.t.Helper()
	var n int
	row := w.conn.QueryRow(w.t.Context(), `select count(*) from pg_stat_activity where datname = current_database()
		and backend_type = 'client backend' and application_name <> 'watcher'`)
	check.OK(w.t, row.Scan(&n))
	return n
}
