package session_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func is(tb testing.TB, err, target error) {
	tb.Helper()
	if !errors.Is(err, target) {
		tb.Fatalf("the error is %v, and should be %v", err, target)
	}
}

// open opens a database of the test's own.
func open(tb testing.TB, uri string) *sql.DB {
	tb.Helper()
	return openWith(tb, pgsafe.DriverName, uri)
}

func openWith(tb testing.TB, driverName, uri string) *sql.DB {
	tb.Helper()
	db, err := sql.Open(driverName, uri)
	check.OK(tb, err)
	tb.Cleanup(func() { check.OK(tb, db.Close()) })
	return db
}

// execer is a *sql.DB, a *sql.Tx or a handle.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func exec(tb testing.TB, ctx context.Context, db execer, query string, args ...any) {
	tb.Helper()
	_, err := db.ExecContext(ctx, query, args...)
	check.OK(tb, err)
}

func one[T any](tb testing.TB, ctx context.Context, db execer, query string, args ...any) T {
	tb.Helper()
	var v T
	check.OK(tb, db.QueryRowContext(ctx, query, args...).Scan(&v))
	return v
}

// backend is the server's process that runs the statements of ctx.
func backend(tb testing.TB, ctx context.Context, db execer) int {
	tb.Helper()
	return one[int](tb, ctx, db, "SELECT pg_backend_pid()")
}

// allBack waits until no connection is in use.
func allBack(tb testing.TB, db *sql.DB) {
	tb.Helper()
	pgtest.Eventually(tb, "every connection is back", func() bool { return db.Stats().InUse == 0 })
}
