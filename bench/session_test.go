package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/session"
)

// The load of BenchmarkSession: more handlers than connections.
const (
	handlers       = 64
	handlerConns   = 8
	handlerQueries = 5
	sessionRound   = 200 * time.Millisecond
)

// ways are how a handler can get its connection.
var ways = []struct {
	label  string
	handle func(ctx context.Context, db *session.DB, think time.Duration) error
}{
	{"pool", onPool},
	{"pool-again", onPool},
	{"session", func(ctx context.Context, db *session.DB, think time.Duration) error {
		return db.Do(ctx, func(ctx context.Context) error { return request(ctx, db, think) })
	}},
	{"pinned", func(ctx context.Context, db *session.DB, think time.Duration) error {
		conn, err := db.Unwrap().Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		return request(ctx, conn, think)
	}},
}

func onPool(ctx context.Context, db *session.DB, think time.Duration) error {
	return request(ctx, db.Unwrap(), think)
}

// request is what a handler does: some queries, and a pause after each but the last.
func request(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, think time.Duration) error {
	for i := range handlerQueries {
		if i > 0 && think > 0 {
			<-time.After(think)
		}
		var n int64
		if err := db.QueryRowContext(ctx, query, 42).Scan(&n); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkSession is 64 handlers on 8 connections, each request five queries with 0 or 1 ms between: on the bare pool,
// on the bare pool once more, to see how far apart two equal ways come, in a session, and with a *sql.Conn that is kept for
// the request. An operation is a fifth of a second of each, in any order. Of all operations the median is told: as
// requests in a second, and as a share of the bare pool's in the same operation.
func BenchmarkSession(b *testing.B) {
	uri := pgtest.Shared(b).Database(b)
	for _, think := range []time.Duration{0, time.Millisecond} {
		b.Run(fmt.Sprintf("between=%v", think), func(b *testing.B) {
			sqlDB, err := pgsafe.Open(uri, pgsafe.WithProfile(pgsafe.Profile{MaxConns: handlerConns}))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = sqlDB.Close() }()
			db := session.Wrap(sqlDB)
			rates, shares := map[string][]float64{}, map[string][]float64{}
			for b.Loop() {
				for _, i := range rand.Perm(len(ways)) {
					w := ways[i]
					rate := serve(b, func(ctx context.Context) error { return w.handle(ctx, db, think) })
					rates[w.label] = append(rates[w.label], rate)
				}
				for _, w := range ways {
					last := len(rates["pool"]) - 1
					shares[w.label] = append(shares[w.label], rates[w.label][last]/rates["pool"][last])
				}
			}
			for _, w := range ways {
				b.ReportMetric(median(rates[w.label]), w.label+"/s")
				b.ReportMetric(median(shares[w.label]), w.label+"-share")
			}
		})
	}
}

// serve has all handlers at work for a while, and returns how many requests they served in a second.
func serve(b *testing.B, handle func(ctx context.Context) error) float64 {
	var served atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range handlers {
		wg.Go(func() {
			for time.Since(begin) < sessionRound {
				ctx, cancel := context.WithCancel(b.Context()) // as net/http makes one for each request
				err := handle(ctx)
				cancel()
				if err != nil {
					b.Error(err)
					return
				}
				served.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(served.Load()) / time.Since(begin).Seconds()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// TestSessionCheckouts counts how often a request of five queries takes a connection when nobody waits for one.
func TestSessionCheckouts(t *testing.T) {
	sqlDB := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
	sqlDB.SetMaxIdleConns(-1) // each checkout takes a connection out of the physical pool, which counts
	c, _ := pgsafe.ConnectorOf(sqlDB)
	db := session.Wrap(sqlDB, session.WithLinger(time.Hour))
	counts := map[string]int64{}
	for _, w := range ways {
		before := c.Stats().Acquired
		if err := w.handle(t.Context(), db, 0); err != nil {
			t.Fatal(err)
		}
		counts[w.label] = c.Stats().Acquired - before
	}
	t.Logf("checkouts of a request of %d queries: %v", handlerQueries, counts)
	if counts["session"] != 1 || counts["pool"] != handlerQueries {
		t.Errorf("a session should make one checkout, and the pool %d", handlerQueries)
	}
}
