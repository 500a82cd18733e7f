package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
)

var (
	used = attribute.String("db.client.connection.state", "used")
	idle = attribute.String("db.client.connection.state", "idle")
)

func TestAWaitIsASpanBelowTheStatementThatWaited(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "&pool_max_conns=1")
	c, _ := pgsafe.ConnectorOf(db)
	ctx := context.Background()
	// waitOf returns the reason of the wait of the only SELECT, "" if it did not wait.
	waitOf := func(t *testing.T) string {
		t.Helper()
		s := r.One("SELECT")
		waits := r.Ended("pgsafe.pool.wait")
		if len(waits) == 0 {
			return ""
		}
		w := waits[0]
		if len(waits) > 1 || w.Parent().SpanID() != s.SpanContext().SpanID() || w.StartTime() != s.StartTime() ||
			w.EndTime().After(s.EndTime()) || w.EndTime().Before(w.StartTime()) {
			t.Errorf("got\n%s", r.Tree())
		}
		return oteltest.Text(w, "pgsafe.pool.wait.reason")
	}
	// waits runs a statement that waits for what the holder of the only connection leaves.
	waits := func(t *testing.T, leave string) {
		t.Helper()
		holder, err := db.Conn(ctx)
		check.OK(t, err)
		exec(t, holder, ctx, leave)
		r.Spans.Reset()
		done := make(chan error, 1)
		go func() {
			_, err := db.Exec("SELECT 1")
			done <- err
		}()
		pgtest.Eventually(t, "a caller waits", func() bool { return c.Stats().Waiting == 1 })
		check.OK(t, holder.Close())
		check.OK(t, <-done)
	}
	t.Run("the first statement of a pool waits for a dial", func(t *testing.T) {
		exec(t, db, ctx, "SELECT 1")
		check.Equal(t, waitOf(t), "dial")
	})
	t.Run("a statement that finds an idle connection does not wait", func(t *testing.T) {
		r.Spans.Reset()
		exec(t, db, ctx, "SELECT 1")
		check.Equal(t, waitOf(t), "")
	})
	t.Run("a statement that waits for another one's release waits for the pool", func(t *testing.T) {
		waits(t, "SELECT 2")
		check.Equal(t, waitOf(t), "pool")
	})
	t.Run("a statement that waits for a reset shows the reset", func(t *testing.T) {
		waits(t, "SET work_mem = '1MB'")
		check.Equal(t, waitOf(t), "reset")
		check.Equal(t, r.One("SELECT").Events()[0].Name, "pgsafe.reset")
	})
	t.Run("a transaction that waits begins with the wait", func(t *testing.T) {
		holder, err := db.Conn(ctx)
		check.OK(t, err)
		exec(t, holder, ctx, "SELECT 2")
		r.Spans.Reset()
		done := make(chan error, 1)
		go func() {
			tx, err := db.BeginTx(ctx, nil)
			if err == nil {
				err = tx.Commit()
			}
			done <- err
		}()
		pgtest.Eventually(t, "a caller waits", func() bool { return c.Stats().Waiting == 1 })
		check.OK(t, holder.Close())
		check.OK(t, <-done)
		tx, begin, w := r.One("TRANSACTION"), r.One("BEGIN"), r.One("pgsafe.pool.wait")
		if tx.StartTime() != w.StartTime() || begin.StartTime() != w.StartTime() ||
			w.Parent().SpanID() != begin.SpanContext().SpanID() {
			t.Errorf("got\n%s", r.Tree())
		}
	})
}

func TestAStatementWithoutAConnectionHasASpanAndAMeasurement(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "&pool_max_conns=1&pool_acquire_timeout=200ms")
	holder, err := db.Conn(context.Background())
	check.OK(t, err)
	defer holder.Close()
	check.OK(t, holder.PingContext(context.Background()))
	r.Within("request", func(ctx context.Context) {
		var exhausted *pgsafe.AcquireError
		if _, err := db.ExecContext(ctx, "SELECT name FROM people WHERE id = 1"); !errors.As(err, &exhausted) {
			t.Fatalf("got %v", err)
		}
	})
	s, w := r.One("SELECT people"), r.One("pgsafe.pool.wait")
	if s.Parent().SpanID() != r.One("request").SpanContext().SpanID() || w.Parent().SpanID() != s.SpanContext().SpanID() {
		t.Errorf("got %s", r.Tree())
	}
	check.Equal(t, oteltest.Text(s, "error.type"), "pool_exhausted")
	check.Equal(t, oteltest.Text(s, "db.query.text"), "SELECT name FROM people WHERE id = ?")
	check.Equal(t, s.Status().Description, "pool_exhausted")
	check.Equal(t, oteltest.Text(w, "pgsafe.pool.wait.reason"), "pool")
	if took := s.EndTime().Sub(s.StartTime()); took < 200*time.Millisecond {
		t.Errorf("the statement waited for 200 ms, its span took %v", took)
	}
	if got := r.Sum("db.client.connection.timeouts"); got != 1 {
		t.Errorf("%d timeouts were counted, want 1", got)
	}
	want := `operation.duration count=1 .*db.query.summary=SELECT people .*error.type=pool_exhausted`
	if dump := r.Dump(); !regexp.MustCompile(want).MatchString(dump) {
		t.Errorf("got\n%s", dump)
	}
	r.Within("given up", func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		c, _ := pgsafe.ConnectorOf(db)
		go func() {
			pgtest.Eventually(t, "a caller waits", func() bool { return c.Stats().Waiting == 1 })
			cancel()
		}()
		if _, err := db.ExecContext(ctx, "SELECT 1"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	if s := r.One("SELECT"); oteltest.Text(s, "pgsafe.canceled") != "true" || s.Status().Code != codes.Unset {
		t.Errorf("got %s", r.Tree())
	}
}

func TestUsedAndIdleConnectionsAddUpToTheServersCount(t *testing.T) {
	r := newRecorder(t)
	cluster := pgtest.Shared(t)
	db := r.open(cluster, "&pool_max_conns=5&application_name=adds_up")
	var conns []*sql.Conn
	for range 4 {
		conn, err := db.Conn(context.Background())
		check.OK(t, err)
		exec(t, conn, context.Background(), "SELECT 1")
		conns = append(conns, conn)
	}
	used := func(t *testing.T, wantUsed, wantIdle int64) {
		t.Helper()
		pgtest.Eventually(t, "the numbers of used and idle connections are right", func() bool {
			return r.Sum("db.client.connection.count", used) == wantUsed &&
				r.Sum("db.client.connection.count", idle) == wantIdle
		})
		if seen := cluster.Activity(t, "adds_up"); int64(seen) != wantUsed+wantIdle {
			t.Errorf("the server has %d connections, want %d", seen, wantUsed+wantIdle)
		}
	}
	t.Run("four connections in use are used", func(t *testing.T) { used(t, 4, 0) })
	t.Run("two connections that are released are idle", func(t *testing.T) {
		check.OK(t, conns[0].Close())
		check.OK(t, conns[1].Close())
		used(t, 2, 2)
	})
	t.Run("a connection that native code holds is used", func(t *testing.T) {
		raw(t, db, func(*pgx.Conn) error {
			used(t, 3, 1)
			return nil
		})
		used(t, 2, 2)
	})
	t.Run("closing the DB ends the observation and all connections", func(t *testing.T) {
		check.OK(t, conns[2].Close())
		check.OK(t, conns[3].Close())
		check.OK(t, db.Close())
		if _, there := r.Metrics()["db.client.connection.count"]; there {
			t.Error("a closed pool is still observed")
		}
		pgtest.Eventually(t, "the server has no connection", func() bool { return cluster.Activity(t, "adds_up") == 0 })
	})
}
