package session_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/session"
	"github.com/pgsafe/pgsafe/telemetry"
)

// recorded opens a database whose telemetry is recorded.
func recorded(t *testing.T, opts ...pgsafe.Option) (*sql.DB, *oteltest.Recorder) {
	t.Helper()
	r := oteltest.New(t)
	opts = append(opts, pgsafe.WithTelemetry(telemetry.WithTracerProvider(r.Tracer), telemetry.WithMeterProvider(r.Meter),
		telemetry.WithPoolName("orders"), telemetry.WithAttributes(attribute.String("team", "shop"))))
	return open(t, opts...), r
}

// names returns the names in a tree of spans, indented, without the spans of connecting.
func names(tree string) string {
	var lines []string
	for line := range strings.Lines(tree) {
		name, _, isSpan := strings.Cut(line, " (")
		if isSpan && !strings.Contains(name, "*") && !strings.Contains(name, "=") && !strings.Contains(name, "CONNECT") &&
			!strings.Contains(name, "pgsafe.pool.wait") {
			lines = append(lines, name)
		}
	}
	return strings.Join(lines, "\n")
}

func TestSessionSpans(t *testing.T) {
	db, r := recorded(t)
	r.Within("request", func(ctx context.Context) {
		check.OK(t, session.Do(ctx, db, func(ctx context.Context) error {
			enter(t, ctx, db, "1")
			return session.Tx(ctx, db, nil, func(ctx context.Context) error {
				_, span := r.Tracer.Tracer("app").Start(ctx, "work")
				span.End()
				enter(t, ctx, db, "2")
				return session.Tx(ctx, db, nil, func(ctx context.Context) error { enter(t, ctx, db, "3"); return nil })
			})
		}))
	})
	t.Run("spans of a transaction, the application's too, are below TRANSACTION, and that below SESSION", func(t *testing.T) {
		want := strings.Join([]string{"CREATE TABLE ledger", "request", "    SESSION", "        INSERT ledger", "        TRANSACTION",
			"            BEGIN", "            work", "            INSERT ledger", "            SAVEPOINT", "            INSERT ledger",
			"            RELEASE SAVEPOINT", "            COMMIT"}, "\n")
		check.Equal(t, names(r.Tree()), want)
	})
	t.Run("the span of a session has its counts, and the pool's attributes", func(t *testing.T) {
		s := r.One("SESSION")
		for key, want := range map[attribute.Key]string{
			"pgsafe.session.statements": "3", "pgsafe.session.checkouts": "2", "pgsafe.session.outcome": "ok",
			"db.client.connection.pool.name": "orders", "team": "shop",
		} {
			check.Equal(t, fmt.Sprint(key, oteltest.Text(s, key)), fmt.Sprint(key, want))
		}
	})
	t.Run("the metrics of a session have the pool's attributes", func(t *testing.T) {
		dump := r.Dump()
		for _, name := range []string{"duration", "wait_time", "statements", "checkouts"} {
			at := strings.Index(dump, "pgsafe.session."+name+" count=1")
			check.Equal(t, at >= 0, true)
			line, _, _ := strings.Cut(dump[at:], "\n")
			check.Equal(t, strings.Contains(line, "db.client.connection.pool.name=") && strings.Contains(line, "team=shop"), true)
		}
	})
}

func TestSessionEvents(t *testing.T) {
	t.Run("a loop of single queries is one event, with their summary", func(t *testing.T) {
		db, r := recorded(t)
		check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
			for i := range 10 {
				one[int](t, ctx, db, fmt.Sprintf("SELECT count(*) FROM ledger WHERE entry = '%d'", i))
			}
			return nil
		}, session.WithRepeatLimit(5)))
		check.Equal(t, strings.Count(r.Tree(), "* pgsafe.session.repeated db.query.summary=SELECT ledger"), 1)
	})
	t.Run("what a session leaves open is counted and logged, from the second time on with its call site", func(t *testing.T) {
		var log bytes.Buffer
		db, r := recorded(t, pgsafe.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		leave := func(t *testing.T) {
			check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
				rows, err := db.QueryContext(ctx, "SELECT g FROM generate_series(1, 100000) g WHERE g <> 4711")
				check.OK(t, err)
				check.Equal(t, rows.Next(), true)
				return nil
			}))
			allBack(t, db)
		}
		leave(t)
		check.Equal(t, strings.Contains(log.String(), "opened="), false)
		leave(t)
		check.Equal(t, strings.Contains(log.String(), "opened=session/telemetry_test.go:"), true)
		leave(t)
		check.Equal(t, strings.Count(log.String(), "left open"), 2) // further records of this text are limited
		check.Equal(t, strings.Contains(log.String(), "4711"), false)
		check.Equal(t, r.Sum("pgsafe.session.left_open", attribute.String("pgsafe.left_open.kind", "rows")), 3)
		check.Equal(t, strings.Count(r.Tree(), "* pgsafe.session.left_open"), 3)
		check.Equal(t, strings.Contains(r.Tree(), "code.file.path="), true)
	})
	t.Run("a transaction that runs again is counted, and an event on the span around it", func(t *testing.T) {
		db, r := recorded(t)
		r.Within("request", func(ctx context.Context) {
			check.OK(t, session.Tx(ctx, db, &session.TxOptions{Retries: 1}, func(ctx context.Context) error {
				if session.Attempt(ctx) == 1 {
					_, err := db.ExecContext(ctx, "DO $$ BEGIN RAISE serialization_failure; END $$")
					return err
				}
				return nil
			}))
		})
		check.Equal(t, r.Sum("pgsafe.transaction.retries", attribute.String("db.response.status_code", "40001")), 1)
		check.Equal(t, strings.Contains(r.Tree(), "* pgsafe.transaction.retry db.response.status_code=40001 pgsafe.transaction.attempt=1"), true)
	})
}
