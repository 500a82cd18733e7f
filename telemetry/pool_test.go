package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
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
		for _, e := range r.ended("SELECT")[i].Events() {
			if e.Name == "pgsafe.pool.wait" {
				n++
			}
		}
		return n
	}
	exec(t, db, context.Background(), "SELECT 1")
	exec(t, db, context.Background(), "SELECT 1")
	if waits(0) != 1 || waits(1) != 0 {
		t.Errorf("the first statement waits for the connect, and the second for nothing:\n%s", r.tree())
	}

	holder, err := c.Pool().Acquire(context.Background())
	must(t, err)
	r.spans.Reset()
	done := make(chan error, 1)
	go func() {
		_, err := db.Exec("SELECT 1")
		done <- err
	}()
	pgtest.Eventually(t, "somebody waits, and for a moment", func() bool { return c.Stats().Waiting == 1 })
	pgtest.Eventually(t, "a second one has waited and given up", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		return db.PingContext(ctx) != nil
	})
	holder.Release()
	must(t, <-done)
	if waits(0) != 1 {
		t.Errorf("nobody waited:\n%s", r.tree())
	}
}

func TestAWaitInVainIsAnEventOnTheCallersSpan(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "&pool_max_conns=1&pool_acquire_timeout=2s")
	holder, err := db.Conn(context.Background())
	must(t, err)
	defer holder.Close()
	must(t, holder.PingContext(context.Background()))
	r.within("request", func(ctx context.Context) {
		var exhausted *pgsafe.AcquireError
		if err := db.PingContext(ctx); !errors.As(err, &exhausted) {
			t.Fatalf("got %v", err)
		}
	})
	events := r.one("request").Events()
	if len(events) != 1 || events[0].Name != "pgsafe.pool.wait" {
		t.Errorf("got %s", r.tree())
	}
	if got := r.gauge("db.client.connection.timeouts"); got != 1 {
		t.Errorf("%d timeouts were counted", got)
	}
}

func TestConnectionsAddUpToWhatTheServerSees(t *testing.T) {
	r := newRecorder(t)
	cluster := pgtest.Shared(t)
	db := r.open(cluster, "&pool_max_conns=5&application_name=adds_up")
	var conns []*sql.Conn
	for range 4 {
		conn, err := db.Conn(context.Background())
		must(t, err)
		exec(t, conn, context.Background(), "SELECT 1")
		conns = append(conns, conn)
	}
	check := func(t *testing.T, wantUsed, wantIdle int64) {
		t.Helper()
		pgtest.Eventually(t, "used and idle are as they should be", func() bool {
			return r.gauge("db.client.connection.count", used) == wantUsed && r.gauge("db.client.connection.count", idle) == wantIdle
		})
		if seen := cluster.Activity(t, "adds_up"); int64(seen) != wantUsed+wantIdle {
			t.Errorf("the server sees %d", seen)
		}
	}
	t.Run("all in use", func(t *testing.T) { check(t, 4, 0) })
	t.Run("two are given back and parked", func(t *testing.T) {
		must(t, conns[0].Close())
		must(t, conns[1].Close())
		check(t, 2, 2)
	})
	t.Run("one that native code has is in use", func(t *testing.T) {
		c, _ := pgsafe.ConnectorOf(db)
		conn, err := c.Pool().Acquire(context.Background())
		must(t, err)
		check(t, 3, 2)
		conn.Release()
		check(t, 2, 3)
	})
	t.Run("none after Close", func(t *testing.T) {
		must(t, conns[2].Close())
		must(t, conns[3].Close())
		must(t, db.Close())
		if _, there := r.metrics()["db.client.connection.count"]; there {
			t.Error("a closed pool is still observed")
		}
		pgtest.Eventually(t, "the server sees none", func() bool { return cluster.Activity(t, "adds_up") == 0 })
	})
}
