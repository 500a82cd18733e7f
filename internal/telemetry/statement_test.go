package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/telemetry"
)

func TestASpanHasTheKindOfItsErrorAndNoMessage(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	exec(t, db, context.Background(), "INSERT INTO people VALUES (1, 'x')")

	t.Run("an error of the server has its SQLSTATE and no message", func(t *testing.T) {
		r.Spans.Reset()
		if _, err := db.Exec("INSERT INTO people VALUES ($1, 's3cretPw')", 1); err == nil {
			t.Fatal("the key was taken twice")
		}
		s := r.One("INSERT people")
		if oteltest.Text(s, "error.type") != "23505" || oteltest.Text(s, "db.response.status_code") != "23505" ||
			s.Status().Code != codes.Error {
			t.Errorf("got %s", r.Tree())
		}
		if strings.Contains(r.Tree(), "duplicate") || strings.Contains(r.Tree(), "s3cret") {
			t.Errorf("the span shows data: %s", r.Tree())
		}
		check.Equal(t, s.Status().Description, "unique: unique_violation, constraint people_pkey, table people")
		check.Equal(t, oteltest.Text(s, "pgsafe.error.constraint"), "people_pkey")
	})
	t.Run("a column that the server names is an attribute, and a part of the description", func(t *testing.T) {
		r.Spans.Reset()
		if _, err := db.Exec("INSERT INTO people VALUES (NULL, 's3cretPw')"); err == nil {
			t.Fatal("a key can be NULL")
		}
		s := r.One("INSERT people")
		check.Equal(t, s.Status().Description, "constraint: not_null_violation, table people, column id")
		check.Equal(t, oteltest.Text(s, "pgsafe.error.column"), "id")
	})
	t.Run("an error with a SQLSTATE of the application's own has no name", func(t *testing.T) {
		r.Spans.Reset()
		_, _ = db.Exec("DO $$ BEGIN RAISE EXCEPTION 's3cretPw' USING ERRCODE = 'MY001'; END $$")
		check.Equal(t, r.One("DO").Status().Description, "MY001")
	})
	t.Run("sql.ErrNoRows is not an error of the span", func(t *testing.T) {
		r.Spans.Reset()
		var n int
		if err := db.QueryRow("SELECT id FROM people WHERE id = $1", 99).Scan(&n); !errors.Is(err, sql.ErrNoRows) {
			t.Fatal(err)
		}
		if s := r.One("SELECT people"); s.Status().Code != codes.Unset {
			t.Errorf("got %s", r.Tree())
		}
	})
	t.Run("a cancellation by the caller is an attribute and not an error", func(t *testing.T) {
		r.Spans.Reset()
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			pgtest.Eventually(t, "the statement runs", func() bool { return len(r.Spans.Started()) > 0 })
			cancel()
		}()
		if _, err := db.ExecContext(ctx, "SELECT pg_sleep(30) FROM people"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		s := r.One("SELECT people")
		if oteltest.Text(s, "pgsafe.canceled") != "true" || oteltest.Text(s, "error.type") != "" ||
			s.Status().Code != codes.Unset {
			t.Errorf("got %s", r.Tree())
		}
		if dump := r.Dump(); !regexp.MustCompile(`operation.duration count=1 .*pgsafe.canceled=true`).MatchString(dump) {
			t.Errorf("its measurement does not show the cancellation:\n%s", dump)
		}
	})
	t.Run("a deadline that passes is a timeout", func(t *testing.T) {
		r.Spans.Reset()
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		_, err := db.ExecContext(ctx, "SELECT pg_sleep(30) FROM people")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if s := r.One("SELECT people"); oteltest.Text(s, "error.type") != "timeout" || s.Status().Code != codes.Error {
			t.Errorf("got %s", r.Tree())
		}
	})
	t.Run("an argument that pgx cannot encode is a reason of pgsafe's own", func(t *testing.T) {
		r.Spans.Reset()
		if _, err := db.Exec("SELECT id FROM people WHERE id = $1", struct{ S string }{"s3cretPw"}); err == nil {
			t.Fatal("a struct was taken for a number")
		}
		s := r.One("SELECT people")
		if kind := oteltest.Text(s, "error.type"); kind != "argument" || strings.Contains(r.Tree(), "s3cret") {
			t.Errorf("got %s", r.Tree())
		}
	})
	t.Run("a dial with a wrong password has the SQLSTATE of the refusal", func(t *testing.T) {
		r.Spans.Reset()
		wrong := strings.Replace(pgtest.SharedTLS(t).URI(""), "@", "x@", 1)
		refused, err := pgsafe.Open(wrong, r.options()...)
		check.OK(t, err)
		defer refused.Close()
		if refused.Ping() == nil {
			t.Fatal("the server accepted a wrong password")
		}
		s := r.One("CONNECT")
		if oteltest.Text(s, "error.type") != "28P01" || s.Status().Code != codes.Error {
			t.Errorf("got %s", r.Tree())
		}
		if all := r.Tree() + r.Dump(); pgtest.Shows(all, pgtest.TLSPassword) {
			t.Errorf("a part of the password is shown: %s", all)
		}
	})
	t.Run("a dial to a closed port fails at its tcp step", func(t *testing.T) {
		r.Spans.Reset()
		silent, err := pgsafe.NewConnector("postgres://u@127.0.0.1/db?sslmode=disable", append(r.options(),
			pgsafe.WithBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
				c.Port = uint16(pgtest.ClosedPort(t))
				return nil
			}))...)
		check.OK(t, err)
		closed := sql.OpenDB(silent)
		defer closed.Close()
		r.Within("request", func(ctx context.Context) {
			if closed.PingContext(ctx) == nil {
				t.Fatal("the port is open")
			}
		})
		if len(r.One("request").Events()) != 0 {
			t.Errorf("a failed dial is a wait event: %s", r.Tree())
		}
		if s := r.One("postgresql"); oteltest.Text(s, "error.type") != "refused" ||
			s.Parent().SpanID() != r.One("request").SpanContext().SpanID() {
			t.Errorf("the call that got no connection has no span: %s", r.Tree())
		}
		if got := r.Sum("pgsafe.connection.failures", attribute.String("error.type", "refused")); got < 2 {
			t.Errorf("%d failed dials were counted", got)
		}
		connects := r.Ended("CONNECT") // the pool retries for a while
		if len(connects) < 2 {
			t.Errorf("got %s", r.Tree())
		}
		for _, s := range connects {
			if len(s.Events()) != 1 || s.Events()[0].Name != "tcp" || oteltest.Text(s, "error.type") != "refused" {
				t.Errorf("got %s", r.Tree())
			}
		}
	})
}

func TestTheSpanOfAnOddTextShowsNoLiteral(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "&default_query_exec_mode=simple_protocol")
	for _, tt := range []struct{ name, sql, span string }{
		{"an empty text is named after the system", "", "postgresql"},
		{"a text that is only a comment is named after the system", "-- s3cretPw", "postgresql"},
		{"a text of a megabyte is cut", "SELECT '" + strings.Repeat("s3cretPw", 1<<17) + "'", "SELECT"},
		{"a text that is not UTF-8 is masked", "SELECT 's3cretPw\xff'", "SELECT"},
		{"a text that ends in a literal is masked", "SELECT 's3cretPw", "SELECT"},
		{"a text of several statements has all of them in its name", "SELECT 1; DELETE FROM people", "SELECT; DELETE people"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.Spans.Reset()
			_, _ = db.Exec(tt.sql) // some fail
			s := r.One(tt.span)
			if strings.Contains(r.Tree(), "s3cret") {
				t.Errorf("the literal is shown: %s", r.Tree())
			}
			for _, a := range s.Attributes() {
				if len(a.Value.String()) > 8<<10 {
					t.Errorf("%s has %d bytes", a.Key, len(a.Value.String()))
				}
			}
		})
	}
}

func TestOptionsSelectWhatASpanShowsOfItsStatement(t *testing.T) {
	run := func(t *testing.T, opts ...pgsafe.Option) sdktrace.ReadOnlySpan {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "", opts...)
		exec(t, db, context.Background(), "INSERT INTO people VALUES ($1, 'Ada') -- why", 7)
		return r.One("INSERT people")
	}
	t.Run("by default a span shows the masked text and no arguments", func(t *testing.T) {
		s := run(t)
		if got := oteltest.Text(s, "db.query.text"); got != "INSERT INTO people VALUES ($1, ?)" {
			t.Errorf("got %q", got)
		}
		if _, shown := oteltest.Attribute(s, "db.query.parameter.0"); shown {
			t.Error("the span shows the arguments")
		}
	})
	t.Run("QueryTextNone shows no text", func(t *testing.T) {
		if _, shown := oteltest.Attribute(run(t, pgsafe.WithTelemetry(telemetry.WithQueryText(telemetry.QueryTextNone))), "db.query.text"); shown {
			t.Error("the span shows the text")
		}
	})
	t.Run("QueryTextRaw shows the text as written", func(t *testing.T) {
		s := run(t, pgsafe.WithTelemetry(telemetry.WithQueryText(telemetry.QueryTextRaw)))
		if got := oteltest.Text(s, "db.query.text"); got != "INSERT INTO people VALUES ($1, 'Ada') -- why" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("QueryTextRaw does not show a text that sets a password", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "", pgsafe.WithTelemetry(telemetry.WithQueryText(telemetry.QueryTextRaw)))
		_, _ = db.Exec("ALTER ROLE missing_role PASSWORD 's3cretPw'")
		if _, shown := oteltest.Attribute(r.One("ALTER ROLE"), "db.query.text"); shown {
			t.Errorf("the span shows the text: %s", r.Tree())
		}
	})
	t.Run("WithQueryParameters shows the arguments", func(t *testing.T) {
		if got := oteltest.Text(run(t, pgsafe.WithTelemetry(telemetry.WithQueryParameters())), "db.query.parameter.0"); got != "7" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("WithAttributes and WithPoolName are on the span", func(t *testing.T) {
		s := run(t, pgsafe.WithTelemetry(telemetry.WithAttributes(attribute.String("team", "red")), telemetry.WithPoolName("orders")))
		if oteltest.Text(s, "team") != "red" || oteltest.Text(s, "db.client.connection.pool.name") != "orders" {
			t.Errorf("got %v", s.Attributes())
		}
	})
}

func TestTheSpanOfAQueryEndsWhenItsRowsAreClosed(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	rows, err := db.Query("SELECT * FROM generate_series(1, 3)")
	check.OK(t, err)
	if len(r.Ended("SELECT generate_series")) != 0 {
		t.Error("the span ended while the rows were open")
	}
	for rows.Next() {
	}
	check.OK(t, rows.Close())
	if got := oteltest.Text(r.One("SELECT generate_series"), "db.response.returned_rows"); got != "3" {
		t.Errorf("the span has %s returned rows, want 3", got)
	}
}

func TestTheSpanOfUnclosedRowsEndsAndIsFlagged(t *testing.T) {
	t.Run("closing the DB ends the span of rows that are open", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "")
		rows, err := db.Query("SELECT * FROM generate_series(1, 3)") // stdlib closes an empty result at once
		check.OK(t, err)
		check.OK(t, db.Close())
		if got := oteltest.Text(r.One("SELECT generate_series"), "pgsafe.rows.unclosed"); got != "true" {
			t.Errorf("got %s", r.Tree())
		}
		check.OK(t, rows.Close())
		if len(r.Ended("SELECT generate_series")) != 1 {
			t.Error("the span ended twice")
		}
	})
	t.Run("releasing a connection ends the span of rows that native code left open", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "")
		raw(t, db, func(c *pgx.Conn) error {
			_, err := c.Query(context.Background(), "SELECT * FROM people")
			return err
		})
		if got := oteltest.Text(r.One("SELECT people"), "pgsafe.rows.unclosed"); got != "true" {
			t.Errorf("got %s", r.Tree())
		}
	})
}
