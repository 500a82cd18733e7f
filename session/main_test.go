package session_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var errApp = errors.New("the application's error")

// isError fails the test now unless err is target.
func isError(tb testing.TB, err, target error) {
	tb.Helper()
	if !errors.Is(err, target) {
		tb.Fatalf("the error is %v, and should be %v", err, target)
	}
}

// open opens a database of the test's own, with a ledger in it.
func open(tb testing.TB, opts ...pgsafe.Option) *sql.DB {
	tb.Helper()
	return openAt(tb, pgtest.Shared(tb).Database(tb), opts...)
}

func openAt(tb testing.TB, uri string, opts ...pgsafe.Option) *sql.DB {
	tb.Helper()
	db, err := pgsafe.Open(uri, opts...)
	check.OK(tb, err)
	tb.Cleanup(func() { check.OK(tb, db.Close()) })
	exec(tb, context.Background(), db, "CREATE TABLE IF NOT EXISTS ledger (entry text)")
	return db
}

// runner is a *sql.DB, a *sql.Conn or a *sql.Tx.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func exec(tb testing.TB, ctx context.Context, db runner, query string, args ...any) {
	tb.Helper()
	_, err := db.ExecContext(ctx, query, args...)
	check.OK(tb, err)
}

func one[T any](tb testing.TB, ctx context.Context, db runner, query string, args ...any) T {
	tb.Helper()
	var v T
	check.OK(tb, db.QueryRowContext(ctx, query, args...).Scan(&v))
	return v
}

// enter adds an entry to the ledger.
func enter(tb testing.TB, ctx context.Context, db runner, entry string) {
	tb.Helper()
	exec(tb, ctx, db, "INSERT INTO ledger VALUES ($1)", entry)
}

// entries returns what is committed in the ledger, in order.
func entries(tb testing.TB, db runner) string {
	tb.Helper()
	return one[string](tb, context.Background(), db, "SELECT coalesce(string_agg(entry, ' ' ORDER BY entry), '') FROM ledger")
}

// tenant returns a context with a setting.
func tenant(ctx context.Context, value string) context.Context {
	return session.WithSettings(ctx, map[string]string{"app.tenant": value})
}

// backend returns the server's process that runs a statement with ctx.
func backend(tb testing.TB, ctx context.Context, db runner) int {
	tb.Helper()
	return one[int](tb, ctx, db, "SELECT pg_backend_pid()")
}

// allBack waits until the pool has no connection in use.
func allBack(tb testing.TB, db *sql.DB) {
	tb.Helper()
	c, ok := pgsafe.ConnectorOf(db)
	check.Equal(tb, ok, true)
	pgtest.Eventually(tb, "every connection is back", func() bool { return c.Stats().InUse == 0 })
}

// quiet is a Logger that drops everything.
var quiet = slog.New(slog.DiscardHandler)

// databaseOf returns the name of the database in uri.
func databaseOf(tb testing.TB, uri string) string {
	tb.Helper()
	config, err := pgx.ParseConfig(uri)
	check.OK(tb, err)
	return config.Database
}
