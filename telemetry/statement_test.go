package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/telemetry"
)

// has returns the value of an attribute, and whether it is there.
func has(s sdktrace.ReadOnlySpan, key attribute.Key) (attribute.Value, bool) {
	for _, a := range s.Attributes() {
		if a.Key == key {
			return a.Value, true
		}
	}
	return attribute.Value{}, false
}

// text returns an attribute as text, "" if it is not there.
func text(s sdktrace.ReadOnlySpan, key attribute.Key) string {
	v, ok := has(s, key)
	if !ok {
		return ""
	}
	return v.String()
}

func TestErrorsOnSpans(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	exec(t, db, context.Background(), "INSERT INTO people VALUES (1, 'x')")

	t.Run("a server's error shows its SQLSTATE and none of its words", func(t *testing.T) {
		r.spans.Reset()
		if _, err := db.Exec("INSERT INTO people VALUES ($1, 's3cretPw')", 1); err == nil {
			t.Fatal("the key was taken twice")
		}
		s := r.one("INSERT people")
		if text(s, "error.type") != "23505" || text(s, "db.response.status_code") != "23505" || s.Status().Code != codes.Error {
			t.Errorf("got %s", r.tree())
		}
		if strings.Contains(r.tree(), "duplicate") || strings.Contains(r.tree(), "s3cret") || s.Status().Description != "" {
			t.Errorf("it shows too much: %s", r.tree())
		}
	})
	t.Run("no rows is no error", func(t *testing.T) {
		r.spans.Reset()
		var n int
		if err := db.QueryRow("SELECT id FROM people WHERE id = $1", 99).Scan(&n); !errors.Is(err, sql.ErrNoRows) {
			t.Fatal(err)
		}
		if s := r.one("SELECT people"); s.Status().Code != codes.Unset {
			t.Errorf("got %s", r.tree())
		}
	})
	t.Run("a caller's own cancellation is an attribute, and no error", func(t *testing.T) {
		r.spans.Reset()
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			pgtest.Eventually(t, "the statement runs", func() bool { return len(r.spans.Started()) > 0 })
			cancel()
		}()
		if _, err := db.ExecContext(ctx, "SELECT pg_sleep(30) FROM people"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		s := r.one("SELECT people")
		if text(s, "pgsafe.canceled") != "true" || text(s, "error.type") != "" || s.Status().Code != codes.Unset {
			t.Errorf("got %s", r.tree())
		}
	})
	t.Run("a deadline that ran out is a timeout", func(t *testing.T) {
		r.spans.Reset()
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		_, err := db.ExecContext(ctx, "SELECT pg_sleep(30) FROM people")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if s := r.one("SELECT people"); text(s, "error.type") != "timeout" || s.Status().Code != codes.Error {
			t.Errorf("got %s", r.tree())
		}
	})
	t.Run("an argument that pgx cannot send shows its error's type", func(t *testing.T) {
		r.spans.Reset()
		if _, err := db.Exec("SELECT id FROM people WHERE id = $1", struct{ S string }{"s3cretPw"}); err == nil {
			t.Fatal("a struct was taken for a number")
		}
		s := r.one("SELECT people")
		if kind := text(s, "error.type"); !strings.HasPrefix(kind, "*") || strings.Contains(r.tree(), "s3cret") {
			t.Errorf("got %s", r.tree())
		}
	})
	t.Run("a wrong password fails the connect", func(t *testing.T) {
		r.spans.Reset()
		wrong := strings.Replace(pgtest.SharedTLS(t).URI(""), "@", "x@", 1)
		refused, err := pgsafe.Open(wrong, r.options()...)
		must(t, err)
		defer refused.Close()
		if refused.Ping() == nil {
			t.Fatal("it let us in")
		}
		s := r.one("CONNECT")
		if text(s, "error.type") != "28P01" || s.Status().Code != codes.Error {
			t.Errorf("got %s", r.tree())
		}
		if all := r.tree() + r.dump(); pgtest.Shows(all, pgtest.TLSPassword) {
			t.Errorf("a part of the password is shown: %s", all)
		}
	})
	t.Run("nobody who listens fails the connect at its first step", func(t *testing.T) {
		r.spans.Reset()
		silent, err := pgsafe.NewConnector("postgres://u@127.0.0.1/db?sslmode=disable", append(r.options(),
			pgsafe.WithBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
				c.Port = uint16(pgtest.ClosedPort(t))
				return nil
			}))...)
		must(t, err)
		closed := sql.OpenDB(silent)
		defer closed.Close()
		r.within("request", func(ctx context.Context) {
			if closed.PingContext(ctx) == nil {
				t.Fatal("somebody listens")
			}
		})
		if len(r.one("request").Events()) != 0 {
			t.Errorf("it waited for the pool: %s", r.tree())
		}
		connects := r.ended("CONNECT") // it is tried again for a while
		if len(connects) < 2 {
			t.Errorf("got %s", r.tree())
		}
		for _, s := range connects {
			if len(s.Events()) != 1 || s.Events()[0].Name != "tcp" || text(s, "error.type") != "*net.OpError" {
				t.Errorf("got %s", r.tree())
			}
		}
	})
}

func TestOddTexts(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "&default_query_exec_mode=simple_protocol")
	for _, tt := range []struct{ name, sql, span string }{
		{"an empty one", "", "postgresql"},
		{"only a comment", "-- s3cretPw", "postgresql"},
		{"a megabyte", "SELECT '" + strings.Repeat("s3cretPw", 1<<17) + "'", "SELECT"},
		{"not UTF-8", "SELECT 's3cretPw\xff'", "SELECT"},
		{"malformed", "SELECT 's3cretPw", "SELECT"},
		{"several statements", "SELECT 1; DELETE FROM people", "SELECT; DELETE people"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.spans.Reset()
			_, _ = db.Exec(tt.sql) // some of them fail, as they should
			s := r.one(tt.span)
			if strings.Contains(r.tree(), "s3cret") {
				t.Errorf("the literal is shown: %s", r.tree())
			}
			for _, a := range s.Attributes() {
				if len(a.Value.String()) > 8<<10 {
					t.Errorf("%s has %d bytes", a.Key, len(a.Value.String()))
				}
			}
		})
	}
}

func TestWhatIsShownOfAStatement(t *testing.T) {
	run := func(t *testing.T, opts ...pgsafe.Option) sdktrace.ReadOnlySpan {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "", opts...)
		exec(t, db, context.Background(), "INSERT INTO people VALUES ($1, 'Ada') -- why", 7)
		return r.one("INSERT people")
	}
	t.Run("its masked text, by default", func(t *testing.T) {
		s := run(t)
		if got := text(s, "db.query.text"); got != "INSERT INTO people VALUES ($1, ?)" {
			t.Errorf("got %q", got)
		}
		if _, shown := has(s, "db.query.parameter.0"); shown {
			t.Error("it shows its arguments")
		}
	})
	t.Run("no text", func(t *testing.T) {
		if _, shown := has(run(t, pgsafe.WithQueryText(telemetry.QueryTextNone)), "db.query.text"); shown {
			t.Error("it shows its text")
		}
	})
	t.Run("its raw text", func(t *testing.T) {
		s := run(t, pgsafe.WithQueryText(telemetry.QueryTextRaw))
		if got := text(s, "db.query.text"); got != "INSERT INTO people VALUES ($1, 'Ada') -- why" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("no text that sets a password, not even raw", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "", pgsafe.WithQueryText(telemetry.QueryTextRaw))
		_, _ = db.Exec("ALTER ROLE nobody_has_this_name PASSWORD 's3cretPw'")
		if _, shown := has(r.one("ALTER ROLE"), "db.query.text"); shown {
			t.Errorf("it shows its text: %s", r.tree())
		}
	})
	t.Run("its arguments", func(t *testing.T) {
		if got := text(run(t, pgsafe.WithQueryParameters()), "db.query.parameter.0"); got != "7" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("attributes of the application's", func(t *testing.T) {
		s := run(t, pgsafe.WithAttributes(attribute.String("team", "red")), pgsafe.WithPoolName("orders"))
		if text(s, "team") != "red" || text(s, "db.client.connection.pool.name") != "orders" {
			t.Errorf("got %v", s.Attributes())
		}
	})
}

func TestTheSpanOfRowsEndsWhenTheyAreClosed(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	rows, err := db.Query("SELECT * FROM generate_series(1, 3)")
	must(t, err)
	if len(r.ended("SELECT generate_series")) != 0 {
		t.Error("it ended with the rows open")
	}
	for rows.Next() {
	}
	must(t, rows.Close())
	if got := text(r.one("SELECT generate_series"), "db.response.returned_rows"); got != "3" {
		t.Errorf("it returned %s rows", got)
	}
}

func TestForgottenRowsAreFlagged(t *testing.T) {
	t.Run("when the pool is closed", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "")
		rows, err := db.Query("SELECT * FROM generate_series(1, 3)") // stdlib closes rows of which there are none
		must(t, err)
		must(t, db.Close())
		if got := text(r.one("SELECT generate_series"), "pgsafe.rows.unclosed"); got != "true" {
			t.Errorf("got %s", r.tree())
		}
		must(t, rows.Close())
		if len(r.ended("SELECT generate_series")) != 1 {
			t.Error("it ended twice")
		}
	})
	t.Run("when native code gives the connection back", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "")
		c, _ := pgsafe.ConnectorOf(db)
		conn, err := c.Pool().Acquire(context.Background())
		must(t, err)
		_, err = conn.Query(context.Background(), "SELECT * FROM people")
		must(t, err)
		conn.Release()
		if got := text(r.one("SELECT people"), "pgsafe.rows.unclosed"); got != "true" {
			t.Errorf("got %s", r.tree())
		}
	})
}
