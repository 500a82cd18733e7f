package pgsafeotelsql_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/codes"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/pgsafeotelsql"
	"github.com/pgsafe/pgsafe/telemetry"
)

// open opens a new database with an empty table people, recorded by r.
func open(t *testing.T, r *oteltest.Recorder, query string, more ...pgsafe.Option) *sql.DB {
	t.Helper()
	options := append([]pgsafe.Option{pgsafe.WithTelemetry(telemetry.WithTracerProvider(r.Tracer), telemetry.WithMeterProvider(r.Meter))}, more...)
	db, err := pgsafe.Open(pgtest.Shared(t).Database(t)+query, options...)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, db.Close()) })
	_, err = db.Exec("CREATE TABLE people (id int PRIMARY KEY, name text)")
	check.OK(t, err)
	return db
}

func TestTheLayerMakesTheSpansOfStatements(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		opts        []pgsafe.Option
	}{
		{"a connection string asks for the layer", "&pgsafe_telemetry=otelsql", nil},
		{"an option asks for the layer", "", []pgsafe.Option{pgsafe.WithTelemetry(telemetry.WithLayer(pgsafeotelsql.Layer()))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := oteltest.New(t)
			db := open(t, r, tt.query, tt.opts...)
			r.Within("request", func(ctx context.Context) {
				tx, err := db.BeginTx(ctx, nil)
				check.OK(t, err)
				_, err = tx.ExecContext(ctx, "INSERT INTO people VALUES (1, 's3cretPw')")
				check.OK(t, err)
				_, _ = tx.ExecContext(ctx, "INSERT INTO people VALUES (1, 's3cretPw')")
				_ = tx.Rollback()
			})
			tree := r.Tree()
			if strings.Contains(tree, "s3cret") || strings.Contains(tree, "duplicate") {
				t.Errorf("the spans show data:\n%s", tree)
			}
			if strings.Contains(tree, "reset_session") || strings.Contains(tree, "TRANSACTION") {
				t.Errorf("there are spans of resets, or two spans of one transaction:\n%s", tree)
			}
			inserts := r.Ended("INSERT people")
			if len(inserts) != 2 {
				t.Fatalf("there are %d spans of two statements:\n%s", len(inserts), tree)
			}
			failed := inserts[1]
			if failed.Status().Code != codes.Error || oteltest.Text(failed, "db.response.status_code") != "23505" ||
				oteltest.Text(failed, "db.system.name") != "postgresql" {
				t.Errorf("got %s", tree)
			}
			if got := oteltest.Text(failed, "db.query.text"); got != "INSERT INTO people VALUES (?, ?)" {
				t.Errorf("the text is %q", got)
			}
			if _, there := r.Metrics()["db.client.connection.count"]; !there {
				t.Error("the pool is not observed")
			}
		})
	}
}

func TestTheLayer(t *testing.T) {
	t.Run("the application's options outrank the corrected defaults", func(t *testing.T) {
		r := oteltest.New(t)
		name := func(_ context.Context, m otelsql.Method, _ string) string { return "mine " + string(m) }
		db := open(t, r, "", pgsafe.WithTelemetry(telemetry.WithLayer(pgsafeotelsql.Layer(otelsql.WithSpanNameFormatter(name)))))
		r.Spans.Reset()
		_, err := db.Exec("SELECT 1")
		check.OK(t, err)
		r.One("mine sql.conn.exec")
	})
	t.Run("ConnectorOf and Raw reach through the layer", func(t *testing.T) {
		db := open(t, oteltest.New(t), "&pgsafe_telemetry=otelsql")
		if _, ok := pgsafe.ConnectorOf(db); !ok {
			t.Error("ConnectorOf does not find the Connector")
		}
		conn, err := db.Conn(context.Background())
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error { return c.Ping(context.Background()) }))
	})
	t.Run("the statistics of the DB are measured until it is closed", func(t *testing.T) {
		r := oteltest.New(t)
		db := open(t, r, "&pgsafe_telemetry=otelsql")
		if _, there := r.Metrics()["db.sql.connection.open"]; !there {
			t.Error("the open DB is not measured")
		}
		check.OK(t, db.Close())
		if _, there := r.Metrics()["db.sql.connection.open"]; there {
			t.Error("the closed DB is measured")
		}
	})
	t.Run("telemetry.Off outranks the connection string", func(t *testing.T) {
		r := oteltest.New(t)
		_ = open(t, r, "&pgsafe_telemetry=otelsql", pgsafe.WithTelemetry(telemetry.Off()))
		if len(r.Spans.Ended()) != 0 || len(r.Metrics()) != 0 {
			t.Errorf("there are spans or metrics:\n%s", r.Tree())
		}
	})
	t.Run("a query behind the layer is cancelled with its context", func(t *testing.T) {
		r := oteltest.New(t)
		db := open(t, r, "&pgsafe_telemetry=otelsql")
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			defer cancel()
			pgtest.Eventually(t, "the query runs", func() bool { return len(r.Spans.Started()) > len(r.Spans.Ended()) })
		}()
		if _, err := db.ExecContext(ctx, "SELECT pg_sleep(60)"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
