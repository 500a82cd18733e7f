package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/session"
)

// eventsOf returns the names of a span's events.
func eventsOf(s sdktrace.ReadOnlySpan) (names []string) {
	for _, e := range s.Events() {
		names = append(names, e.Name)
	}
	return names
}

// ended is a database with one idle connection, whose server session ends when the pool has looked
// at it for the next statement already: the statement never begins.
type ended struct {
	*sql.DB
	proxy *pgtest.Proxy
	isDue bool
	noNew bool // no other connection can be made
}

var errNoNew = errors.New("no new connection")

// endedBy opens such a database. end ends the session, which is idle.
func endedBy(t *testing.T, r *recorder, end func(*ended, *pgx.Conn)) *ended {
	t.Helper()
	e := &ended{proxy: pgtest.NewProxy(t, pgtest.Shared(t))}
	config, err := pgx.ParseConfig(e.proxy.URI("postgres"))
	check.OK(t, err)
	config.Tracer = beforeQuery(func(conn *pgx.Conn) {
		if e.isDue {
			e.isDue = false
			end(e, conn)
		}
	})
	c, err := pgsafe.NewConnectorConfig(config, r.options(pgsafe.WithProfile(pgsafe.Profile{MaxConns: 1}),
		pgsafe.WithBeforeConnect(func(context.Context, *pgx.ConnConfig) error {
			if e.noNew {
				return errNoNew
			}
			return nil
		}))...)
	check.OK(t, err)
	e.DB = sql.OpenDB(c)
	t.Cleanup(func() { _ = e.Close() })
	exec(t, e, context.Background(), "SELECT 1")
	r.Spans.Reset()
	return e
}

// terminated ends the session as an administrator does. The server says so to the idle session.
func terminated(t *testing.T) func(*ended, *pgx.Conn) {
	return func(_ *ended, conn *pgx.Conn) {
		admin := pgtest.Shared(t).Admin(t)
		_, err := admin.Exec(context.Background(), "SELECT pg_terminate_backend($1)", int32(conn.PgConn().PID()))
		check.OK(t, err)
		pgtest.Eventually(t, "the session is gone", func() (gone bool) {
			check.OK(t, admin.QueryRow(context.Background(),
				"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", int32(conn.PgConn().PID())).Scan(&gone))
			return gone
		})
	}
}

// beforeQuery is a tracer that is called before each statement is sent.
type beforeQuery func(*pgx.Conn)

func (f beforeQuery) TraceQueryStart(ctx context.Context, c *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	f(c)
	return ctx
}

func (beforeQuery) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestAStatementThatRunsAgainIsOneSpan(t *testing.T) {
	ctx := context.Background()
	t.Run("a statement that had not begun when its connection broke has one span with a repeat", func(t *testing.T) {
		r := newRecorder(t)
		db := endedBy(t, r, terminated(t))
		db.isDue = true
		exec(t, db, ctx, "SELECT $1::int", 1) // the simple protocol, without arguments, offers no proof
		s := r.One("SELECT")
		if s.Status().Code != codes.Unset || !slices.Contains(eventsOf(s), "pgsafe.repeat") {
			t.Errorf("got\n%s", r.Tree())
		}
		if c := r.One("CONNECT"); oteltest.Text(c, "pgsafe.connect.reason") != "lost" {
			t.Errorf("got\n%s", r.Tree())
		}
		check.Equal(t, r.Count("db.client.operation.duration"), uint64(2)) // the first statement, and this one
		w := r.One("pgsafe.pool.wait")
		if w.Parent().SpanID() != s.SpanContext().SpanID() || w.StartTime().Before(s.StartTime()) {
			t.Errorf("the wait for the other connection is not below the statement:\n%s", r.Tree())
		}
	})
	t.Run("a transaction whose BEGIN had not begun has one span with a repeat", func(t *testing.T) {
		r := newRecorder(t)
		db := endedBy(t, r, terminated(t))
		db.isDue = true
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		check.OK(t, tx.Commit())
		if s := r.One("BEGIN"); s.Status().Code != codes.Unset || !slices.Contains(eventsOf(s), "pgsafe.repeat") {
			t.Errorf("got\n%s", r.Tree())
		}
		check.Equal(t, oteltest.Text(r.One("TRANSACTION"), "pgsafe.transaction.outcome"), "commit")
	})
	t.Run("session.Tx whose BEGIN had not begun has one span with a repeat", func(t *testing.T) {
		r := newRecorder(t)
		db := endedBy(t, r, terminated(t))
		db.isDue = true
		check.OK(t, session.Tx(ctx, db.DB, nil, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "SELECT 1")
			return err
		}))
		if s := r.One("BEGIN"); !slices.Contains(eventsOf(s), "pgsafe.repeat") {
			t.Errorf("got\n%s", r.Tree())
		}
		r.One("TRANSACTION")
	})
	t.Run("a statement that cannot run again ends with its error, and is measured once", func(t *testing.T) {
		r := newRecorder(t)
		db := endedBy(t, r, func(e *ended, _ *pgx.Conn) { e.proxy.Cut() })
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		exec(t, conn, ctx, "SELECT 1")
		r.Spans.Reset()
		db.isDue = true
		if _, err := conn.ExecContext(ctx, "SELECT 1"); err == nil {
			t.Error("it ran without a connection")
		}
		_ = conn.Close()
		s := r.One("SELECT")
		check.Equal(t, oteltest.Text(s, "error.type"), "connection_lost")
		check.Equal(t, s.Status().Description, "unavailable: connection_lost")
		check.Equal(t, r.Count("db.client.operation.duration"), uint64(3))
	})
	t.Run("a statement that gets no other connection ends with the reason, and is measured once", func(t *testing.T) {
		r := newRecorder(t)
		db := endedBy(t, r, terminated(t))
		db.isDue, db.noNew = true, true
		if _, err := db.ExecContext(ctx, "SELECT $1::int", 1); !errors.Is(err, errNoNew) {
			t.Errorf("got %v", err)
		}
		s := r.One("SELECT")
		check.Equal(t, oteltest.Text(s, "error.type"), "other")
		check.Equal(t, oteltest.Text(r.One("pgsafe.pool.wait"), "pgsafe.pool.wait.reason"), "dial")
		check.Equal(t, r.Count("db.client.operation.duration"), uint64(2))
		check.Equal(t, r.Sum("pgsafe.connection.failures"), int64(1))
	})
	t.Run("a statement whose plan the server refuses has one span with a repeat", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "")
		db.SetMaxOpenConns(1)
		query(t, db, ctx, "SELECT * FROM people")
		exec(t, db, ctx, "ALTER TABLE people ADD COLUMN age int")
		r.Spans.Reset()
		query(t, db, ctx, "SELECT * FROM people")
		if s := r.One("SELECT people"); s.Status().Code != codes.Unset || !slices.Contains(eventsOf(s), "pgsafe.repeat") {
			t.Errorf("got\n%s", r.Tree())
		}
	})
}

func TestRoundTripsOfPgsafeAreEvents(t *testing.T) {
	ctx := context.Background()
	t.Run("settings that take a round trip before a statement are an event on it", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "")
		exec(t, db, ctx, "SELECT 1")
		r.Spans.Reset()
		exec(t, db, session.WithSettings(ctx, map[string]string{"app.tenant": "s3cret"}), "CREATE TEMP TABLE after_settings (n int)")
		s := r.One("CREATE TABLE after_settings")
		if !slices.Contains(eventsOf(s), "pgsafe.settings") || s.Events()[0].Time.Before(s.StartTime()) {
			t.Errorf("got\n%s", r.Tree())
		}
	})
	t.Run("the ping of a connection that was idle for long is an event on the statement", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "", pgsafe.WithProfile(pgsafe.Profile{PingAfter: 1}))
		exec(t, db, ctx, "SELECT 1")
		r.Spans.Reset()
		exec(t, db, ctx, "SELECT 1")
		s := r.One("SELECT")
		if !slices.Contains(eventsOf(s), "pgsafe.ping") || s.Events()[0].Time.Before(s.StartTime()) {
			t.Errorf("got\n%s", r.Tree())
		}
	})
}
