package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"runtime"
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
	sessionRound   = 50 * time.Millisecond
)

// handlerPools are what handlers get their connections from: pgsafe's pool, through sessions or bare, and pgx's.
type handlerPools struct {
	sessions  *session.DB
	bare, pgx *sql.DB
}

// ways are how a handler can get its connection.
var ways = []struct {
	label  string
	handle func(ctx context.Context, from handlerPools, think time.Duration) error
}{
	{"pool", onPool},
	{"pool-again", onPool},
	{"session", func(ctx context.Context, from handlerPools, think time.Duration) error {
		return from.sessions.Do(ctx, func(ctx context.Context) error { return request(ctx, from.sessions, think) })
	}},
	{"pinned", func(ctx context.Context, from handlerPools, think time.Duration) error {
		conn, err := from.bare.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		return request(ctx, conn, think)
	}},
	{"pgx", func(ctx context.Context, from handlerPools, think time.Duration) error {
		return request(ctx, from.pgx, think)
	}},
}

func onPool(ctx context.Context, from handlerPools, think time.Duration) error {
	return request(ctx, from.bare, think)
}

// queryer is a *sql.DB, a *sql.Conn or sessions.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// request is what a handler does: some queries, and a pause after each but the last.
func request(ctx context.Context, db queryer, think time.Duration) error {
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
// on the bare pool once more, to see how far apart two equal ways come, in a session, with a *sql.Conn that is kept for
// the request, and on the pool of database/sql with pgx's driver. An operation is a twentieth of a second of each, in any
// order. Of all operations the median is told: as requests in a second, as a share of the bare pool's in the same
// operation (the mean of both its ways), and as allocations of a request.
func BenchmarkSession(b *testing.B) {
	uri := pgtest.Shared(b).Database(b)
	for _, think := range []time.Duration{0, time.Millisecond} {
		b.Run(fmt.Sprintf("between=%v", think), func(b *testing.B) {
			from := openHandlerPools(b, uri)
			rates, shares, allocs := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
			for b.Loop() {
				for _, i := range rand.Perm(len(ways)) {
					w := ways[i]
					rate, n := serve(b, func(ctx context.Context) error { return w.handle(ctx, from, think) })
					rates[w.label], allocs[w.label] = append(rates[w.label], rate), append(allocs[w.label], n)
				}
				last := len(rates["pool"]) - 1
				pool := (rates["pool"][last] + rates["pool-again"][last]) / 2
				for _, w := range ways {
					shares[w.label] = append(shares[w.label], rates[w.label][last]/pool)
				}
			}
			for _, w := range ways {
				b.ReportMetric(median(rates[w.label]), w.label+"/s")
				b.ReportMetric(median(shares[w.label]), w.label+"-share")
				b.ReportMetric(median(allocs[w.label]), w.label+"-allocs/request")
			}
		})
	}
}

func openHandlerPools(tb testing.TB, uri string) handlerPools {
	bare, err := pgsafe.Open(uri, pgsafe.WithProfile(pgsafe.Profile{MaxConns: handlerConns}))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = bare.Close() })
	pgxs := open(tb, "pgx", uri)
	pgxs.SetMaxOpenConns(handlerConns)
	pgxs.SetMaxIdleConns(handlerConns)
	return handlerPools{sessions: session.Wrap(bare), bare: bare, pgx: pgxs}
}

// serve has all handlers at work for a while, and returns how many requests they served in a second, and the allocations
// for each.
func serve(b *testing.B, handle func(ctx context.Context) error) (rate, allocs float64) {
	var served atomic.Int64
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
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
	took := time.Since(begin).Seconds()
	runtime.ReadMemStats(&after)
	n := float64(served.Load())
	return n / took, float64(after.Mallocs-before.Mallocs) / n
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
	from := handlerPools{session.Wrap(sqlDB, session.WithLinger(time.Hour)), sqlDB, sqlDB}
	counts := map[string]int64{}
	for _, w := range ways {
		before := c.Stats().Acquired
		if err := w.handle(t.Context(), from, 0); err != nil {
			t.Fatal(err)
		}
		counts[w.label] = c.Stats().Acquired - before
	}
	t.Logf("checkouts of a request of %d queries: %v", handlerQueries, counts)
	if counts["session"] != 1 || counts["pool"] != handlerQueries {
		t.Errorf("a session should make one checkout, and the pool %d", handlerQueries)
	}
}

// TestSessionAllocations counts what a query costs on a connection that is held, and in a session that holds one: that watches
// its rows itself, which database/sql and pgx need not do then.
func TestSessionAllocations(t *testing.T) {
	bare := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
	sessions := session.Wrap(bare, session.WithLinger(time.Hour))
	conn, err := bare.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	allocsOf := func(ctx context.Context, db queryer) float64 {
		return testing.AllocsPerRun(200, func() {
			var n int64
			if err := db.QueryRowContext(ctx, query, 42).Scan(&n); err != nil {
				t.Fatal(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held := allocsOf(ctx, conn)
	var watched float64
	if err := sessions.Do(ctx, func(ctx context.Context) error { watched = allocsOf(ctx, sessions); return nil }); err != nil {
		t.Fatal(err)
	}
	t.Logf("allocations of a query on a connection that is held: %v, and in a session: %v", held, watched)
	if watched > held-5 { // it is one more or less, by rounding
		t.Error("a session should take five less at least")
	}
}
