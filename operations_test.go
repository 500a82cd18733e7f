package pgsafe_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// operation is something that applications do, in two steps: what happens between them is up to the test. The context of
// the first is that of all that it begins.
type operation struct {
	name  string
	begin func(t *testing.T, ctx context.Context, db *sql.DB) (end func(context.Context) error)
}

// operations are of all kinds.
var operations = []operation{
	{"a statement", func(_ *testing.T, _ context.Context, db *sql.DB) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "select 1")
			return err
		}
	}},
	{"a query with arguments", func(_ *testing.T, _ context.Context, db *sql.DB) func(context.Context) error {
		return func(ctx context.Context) error {
			var n int
			return db.QueryRowContext(ctx, "select $1::int", 1).Scan(&n)
		}
	}},
	{"a ping", func(_ *testing.T, _ context.Context, db *sql.DB) func(context.Context) error { return db.PingContext }},
	{"a new connection beside one in use", func(t *testing.T, ctx context.Context, db *sql.DB) func(context.Context) error {
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		return func(ctx context.Context) error {
			defer conn.Close()
			other, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			return other.Close()
		}
	}},
	{"a prepared statement", func(t *testing.T, ctx context.Context, db *sql.DB) func(context.Context) error {
		stmt, err := db.PrepareContext(ctx, "select $1::int + 1")
		check.OK(t, err)
		return func(ctx context.Context) error {
			defer stmt.Close()
			var n int
			return stmt.QueryRowContext(ctx, 1).Scan(&n)
		}
	}},
	{"the rest of many rows", func(t *testing.T, ctx context.Context, db *sql.DB) func(context.Context) error {
		rows, err := db.QueryContext(ctx, "select repeat('x', 1000) from generate_series(1, 50)")
		check.OK(t, err)
		check.Equal(t, rows.Next(), true)
		return func(context.Context) error {
			for rows.Next() {
			}
			return rows.Err()
		}
	}},
	{"a commit", func(t *testing.T, ctx context.Context, db *sql.DB) func(context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		return func(context.Context) error { return tx.Commit() }
	}},
	{"a rollback", func(t *testing.T, ctx context.Context, db *sql.DB) func(context.Context) error {
		tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
		check.OK(t, err)
		return func(context.Context) error { return tx.Rollback() }
	}},
	{"the rollback of a transaction whose context ends", func(t *testing.T, ctx context.Context, db *sql.DB) func(context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		return func(context.Context) error {
			cancel()
			if err := tx.Rollback(); err != sql.ErrTxDone { // database/sql has begun to roll back
				return err
			}
			return nil
		}
	}},
	{"a statement that is cancelled", func(_ *testing.T, _ context.Context, db *sql.DB) func(context.Context) error {
		return func(ctx context.Context) error {
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			_, err := db.ExecContext(short, "select pg_sleep(2)")
			if kind := pgsafe.KindOf(err); kind != pgsafe.KindTimeout {
				return fmt.Errorf("want a timeout, got %v: %w", kind, err)
			}
			return nil
		}
	}},
	{"COPY", func(t *testing.T, ctx context.Context, db *sql.DB) func(context.Context) error {
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		_, err = conn.ExecContext(ctx, "create temp table if not exists copied (n int)")
		check.OK(t, err)
		return func(ctx context.Context) error {
			defer conn.Close()
			return pgsafe.Raw(conn, func(c *pgx.Conn) error {
				_, err := c.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"n"}, pgx.CopyFromSlice(100, func(i int) ([]any, error) { return []any{i}, nil }))
				return err
			})
		}
	}},
}

// throughProxy opens a database through a proxy, and makes sure in the end that nothing of it is left.
func throughProxy(t *testing.T, params ...string) (*sql.DB, *pgtest.Proxy) {
	t.Helper()
	cluster := pgtest.Shared(t)
	database := databaseOf(t, cluster.Database(t))
	proxy := pgtest.NewProxy(t, cluster)
	db, err := sql.Open(pgsafe.DriverName, with(proxy.URI(database), params...))
	check.OK(t, err)
	t.Cleanup(func() {
		check.OK(t, db.Close())
		pgtest.Eventually(t, "no connection is left", func() bool { return proxy.Open() == 0 })
		gone(t, cluster, database)
	})
	return db, proxy
}

// everythingWorks runs all operations on a network that is slow in some way.
func everythingWorks(t *testing.T, slow func(*pgtest.Proxy)) {
	t.Helper()
	db, proxy := throughProxy(t)
	slow(proxy)
	for _, op := range operations {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := op.begin(t, ctx, db)(ctx); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
		cancel()
	}
	t.Logf("%d operations: %d round trips, %d connections, %d cancel requests", len(operations), proxy.RoundTrips(), proxy.Connections(), proxy.Cancels())
}

// nothingHangs breaks the network in the middle of each operation, which then has a short while left, and heals it.
func nothingHangs(t *testing.T, breaks, heals func(*pgtest.Proxy)) {
	t.Helper()
	db, proxy := throughProxy(t, "pgsafe_cancel_timeout=200ms", "connect_timeout=2")
	var longest, slowest time.Duration
	failed, at := 0, ""
	for _, op := range operations {
		ctx, cancel := context.WithCancel(t.Context())
		pgtest.Eventually(t, "it works", func() bool { return worksWithin(t, db, time.Second) })
		end := op.begin(t, ctx, db)
		breaks(proxy)
		broken := time.Now()
		short, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		context.AfterFunc(short, cancel)
		err := end(short)
		if took := time.Since(broken); took > longest {
			longest, at = took, op.name
		}
		if err != nil {
			failed++
		}
		stop()
		cancel()
		heals(proxy)
		healed := time.Now()
		pgtest.Eventually(t, "it works again after "+op.name, func() bool { return worksWithin(t, db, time.Second) })
		slowest = max(slowest, time.Since(healed))
	}
	t.Logf("%d of %d operations failed with 300 ms to go; the longest took %v (%s), recovery at most %v; %d connections",
		failed, len(operations), longest.Round(time.Millisecond), at, slowest.Round(time.Millisecond), proxy.Connections())
}
