package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

var (
	used = attribute.String("db.client.connection.state", "used")
	idle = attribute.String("db.client.connection.state", "idle")
)

func TestAWaitIsAnEventOnTheStatementThatWaited(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "&pool_max_conns=1")
	c, _ := pgsafe.ConnectorOf(db)
	waits := func(i int) (n int) {
		for _, e := range r.Ended("SELECT")[i].Events() {
			if e.Name == "pgsafe.pool.wait" {
				n++
			}
		}
		return n
	}
	exec(t, db, context.Background(), "SELECT 1")
	exec(t, db, context.Background(), "SELECT 1")
	if waits(0) != 1 || waits(1) != 0 {
		t.Errorf("the first statement waits for a dial, the second does not wait:\n%s", r.Tree())
	}

	holder, err := db.Conn(context.Background())
	check.OK(t, err)
	check.OK(t, pgsafe.Raw(holder, func(c *pgx.Conn) error { return nil })) // the connection is in use from here on
	r.Spans.Reset()
	done := make(chan error, 1)
	go func() {
		_, err := db.Exec("SELECT 1")
		done <- err
	}()
	pgtest.Eventually(t, "a caller waits", func() bool { return c.Stats().Waiting == 1 })
	pgtest.Eventually(t, "a second caller has waited until its deadline", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		return db.PingContext(ctx) != nil
	})
	check.OK(t, holder.Close())
	check.OK(t, <-done)
	if waits(0) != 1 {
		t.Errorf("the statement that waited has no event:\n%s", r.Tree())
	}
}

func TestAWaitThatFailsIsAnEventOnTheCallersSpan(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "&pool_max_conns=1&pool_acquire_timeout=2s")
	holder, err := db.Conn(context.Background())
	check.OK(t, err)
	defer holder.Close()
	check.OK(t, holder.PingContext(context.Background()))
	r.Within("request", func(ctx context.Context) {
		var exhausted *pgsafe.AcquireError
		if err := db.PingContext(ctx); !errors.As(err, &exhausted) {
			t.Fatalf("got %v", err)
		}
	})
	events := r.One("request").Events()
	if len(events) != 1 || events[0].Name != "pgsafe.pool.wait" {
		t.Errorf("got %s", r.Tree())
	}
	if got := r.Sum("db.client.connection.timeouts"); got != 1 {
		t.Errorf("%d timeouts were counted, want 1", got)
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
