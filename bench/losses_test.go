package bench_test

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// The load of the rows under lost connections.
const (
	terminatedCallers = 40
	terminatedConns   = 20
	terminatedEvery   = 200 * time.Millisecond
	restartCallers    = 20
)

// callers are goroutines that run one statement after the other.
type callers struct {
	stop         context.CancelFunc
	running      sync.WaitGroup
	good, failed atomic.Int64
}

func startCallers(ctx context.Context, db *sql.DB, n int) *callers {
	ctx, stop := context.WithCancel(ctx)
	c := &callers{stop: stop}
	for range n {
		c.running.Go(func() {
			for ctx.Err() == nil {
				// A statement under way is not cancelled in the end, so it counts as it deserves.
				if oneQuery(context.WithoutCancel(ctx), db) == nil {
					c.good.Add(1)
				} else {
					c.failed.Add(1)
				}
			}
		})
	}
	return c
}

func (c *callers) end() {
	c.stop()
	c.running.Wait()
}

// more waits until n more statements have succeeded.
func (c *callers) more(tb testing.TB, n int64) {
	tb.Helper()
	from := c.good.Load()
	pgtest.Eventually(tb, "statements succeed", func() bool { return c.good.Load() >= from+n })
}

// benchTerminated ends one backend every 200 ms, under 40 callers on 20 connections.
func benchTerminated(b *testing.B, all *document) {
	t := all.table(fmt.Sprintf("One of 20 backends is terminated every 200 ms, 40 callers, for %v. Connections opened "+
		"meanwhile, good statements (share), failed ones.", faultTime()))
	r := t.row("terminated")
	var base float64
	for _, d := range capped {
		opened, good, failed := terminated(b, d.open)
		base = cmp.Or(base, good)
		t.cell(r, d.label, "%.0f, %.0f (%.2f), %.0f", opened, good, good/base, failed)
		reportMetrics(b, d.label, map[string]float64{
			"conns/op": opened, "good/op": good, "good/pgx": good / base, "errors/op": failed,
		})
	}
}

func terminated(
	b *testing.B, open func(tb testing.TB, uri string, conns int) *sql.DB,
) (opened, good, failed float64) {
	cluster := pgtest.Shared(b)
	uri := cluster.Database(b)
	db := open(b, uri, terminatedConns)
	admin := cluster.AdminIn(b, databaseOf(b, uri))
	c := startCallers(b.Context(), db, terminatedCallers)
	defer c.end()
	pgtest.Eventually(b, "the pool is full", func() bool { return len(backends(b, admin, "true")) == terminatedConns })
	c.more(b, 1000)

	since, goodBefore, failedBefore := openedSince(b, cluster, uri), c.good.Load(), c.failed.Load()
	tick := time.NewTicker(terminatedEvery)
	defer tick.Stop()
	for range int(faultTime() / terminatedEvery) {
		<-tick.C
		_, err := admin.Exec(b.Context(), "select pg_terminate_backend(pid) from pg_stat_activity "+others+
			" order by random() limit 1")
		if err != nil {
			b.Fatal(err)
		}
	}
	good, failed = float64(c.good.Load()-goodBefore), float64(c.failed.Load()-failedBefore)
	c.end()
	if err := db.Close(); err != nil {
		b.Error(err)
	}
	return float64(since()), good, failed
}

// benchRestart restarts the server under 20 callers.
func benchRestart(b *testing.B, all *document) {
	t := all.table("The server restarts under 20 callers (fast shutdown). Failed statements, connections opened.")
	r := t.row("restart")
	for _, d := range capped {
		failed, opened := restarted(b, d.open)
		t.cell(r, d.label, "%.0f, %.0f", failed, opened)
		reportMetrics(b, d.label, map[string]float64{"errors/op": failed, "conns/op": opened})
	}
}

func restarted(b *testing.B, open func(tb testing.TB, uri string, conns int) *sql.DB) (failed, opened float64) {
	cluster := pgtest.New(b, pgserver.Options{})
	uri := cluster.Database(b)
	since := openedSince(b, cluster, uri)
	db := open(b, uri, restartCallers)
	c := startCallers(b.Context(), db, restartCallers)
	defer c.end()
	c.more(b, 1000)
	if err := cluster.Restart(b.Context()); err != nil {
		b.Fatal(err)
	}
	c.more(b, 1000)
	c.end()
	if err := db.Close(); err != nil {
		b.Error(err)
	}
	return float64(c.failed.Load()), float64(since())
}
