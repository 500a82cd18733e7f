package telemetry_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/telemetry"
)

// recorder records one pool of pgsafe.
type recorder struct {
	*oteltest.Recorder
	t testing.TB
}

func newRecorder(t testing.TB) *recorder { return &recorder{oteltest.New(t), t} }

// options are a Connector's options for the recorder's providers, and more.
func (r *recorder) options(more ...pgsafe.Option) []pgsafe.Option {
	return append([]pgsafe.Option{pgsafe.WithTelemetry(telemetry.WithTracerProvider(r.Tracer), telemetry.WithMeterProvider(r.Meter))}, more...)
}

// open opens a new database with an empty table people.
func (r *recorder) open(c *pgtest.Cluster, query string, more ...pgsafe.Option) *sql.DB {
	r.t.Helper()
	db, err := pgsafe.Open(withPeople(r.t, c)+query, r.options(more...)...)
	check.OK(r.t, err)
	r.t.Cleanup(func() { _ = db.Close() })
	return db
}

// withPeople returns the URI of a new database with an empty table people.
func withPeople(t testing.TB, c *pgtest.Cluster) string {
	t.Helper()
	dsn := c.Database(t)
	admin, err := pgx.Connect(context.Background(), dsn)
	check.OK(t, err)
	defer admin.Close(context.Background())
	_, err = admin.Exec(context.Background(), "CREATE TABLE people (id int PRIMARY KEY, name text)")
	check.OK(t, err)
	return dsn
}

type runner interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

func exec(t *testing.T, db runner, ctx context.Context, text string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(ctx, text, args...)
	check.OK(t, err)
}

func query(t *testing.T, db runner, ctx context.Context, text string, args ...any) {
	t.Helper()
	rows, err := db.QueryContext(ctx, text, args...)
	check.OK(t, err)
	for rows.Next() {
	}
	check.OK(t, rows.Err())
	check.OK(t, rows.Close())
}
