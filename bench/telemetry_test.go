package bench_test

import (
	"context"
	"database/sql"
	"runtime"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// warmed opens a database with one connection, which has done all that is done only once.
func warmed(tb testing.TB, d tracedDriver, dsn string, s sdk) *sql.DB {
	tb.Helper()
	db, err := d.open(dsn, s)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	db.SetMaxOpenConns(1)
	run(tb, s.ctx, db, 100)
	return db
}

// run makes n queries, each with another argument, as an application's are.
func run(tb testing.TB, ctx context.Context, db *sql.DB, n int) {
	for i := range n {
		selectArgument(tb, ctx, db, i)
	}
}

func selectArgument(tb testing.TB, ctx context.Context, db *sql.DB, i int) {
	if err := scanInt(db.QueryRowContext(ctx, query, i)); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkTelemetry is one query, in each state of the telemetry, with each library.
func BenchmarkTelemetry(b *testing.B) {
	uri := pgtest.Shared(b).Database(b)
	for _, s := range sdks(b) {
		for _, d := range tracedDrivers() {
			b.Run("sdk="+s.label+"/driver="+d.label, func(b *testing.B) {
				db := warmed(b, d, uri, s)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					selectArgument(b, s.ctx, db, i)
				}
			})
		}
	}
}

// TestTelemetryIsRecorded shows that there is something to compare: each library makes its spans and measurements, and
// spans only for a request that is sampled.
func TestTelemetryIsRecorded(t *testing.T) {
	uri := pgtest.Shared(t).Database(t)
	for _, d := range tracedDrivers()[1:] {
		for _, s := range sdks(t)[1:] {
			t.Run("driver="+d.label+"/sdk="+s.label, func(t *testing.T) {
				db := warmed(t, d, uri, s)
				spans, values := s.providers.made(t)
				run(t, s.ctx, db, 10)
				moreSpans, moreValues := s.providers.made(t)
				spans, values = moreSpans-spans, moreValues-values
				t.Logf("10 queries: %d spans, %d values measured", spans, values)
				if s.label == "sampled" && spans < 10 || s.label == "unsampled" && spans > 0 {
					t.Errorf("%d spans for 10 queries", spans)
				}
				if values < 10 {
					t.Errorf("%d values measured for 10 queries", values)
				}
			})
		}
	}
}

// cost is what a query allocates.
type cost struct{ allocs, bytes uint64 }

// costOf counts in all goroutines, like testing.Benchmark, but takes milliseconds.
func costOf(tb testing.TB, ctx context.Context, db *sql.DB) cost {
	const queries = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run(tb, ctx, db, queries)
	runtime.ReadMemStats(&after)
	return cost{(after.Mallocs - before.Mallocs) / queries, (after.TotalAlloc - before.TotalAlloc) / queries}
}

// TestTelemetryAllocations holds what a query costs with telemetry: at most so much, and no more than with any peer.
func TestTelemetryAllocations(t *testing.T) {
	limits := map[string]cost{"none": {18, 850}, "unsampled": {18, 850}, "sampled": {24, 2600}}
	uri := pgtest.Shared(t).Database(t)
	for _, s := range sdks(t) {
		t.Run("sdk="+s.label, func(t *testing.T) {
			if raced && s.label == "sampled" {
				t.Skip("under the race detector a sync.Pool loses part of what it is given, so the SDK allocates more")
			}
			costs := map[string]cost{}
			for _, d := range tracedDrivers() {
				costs[d.label] = costOf(t, s.ctx, warmed(t, d, uri, s))
				t.Logf("%-15s %3d allocations %5d B", d.label, costs[d.label].allocs, costs[d.label].bytes)
			}
			ours := costs["pgsafe"]
			if limit := limits[s.label]; ours.allocs > limit.allocs || ours.bytes > limit.bytes {
				t.Errorf("a query costs %+v, at most %+v is allowed", ours, limit)
			}
			for _, p := range peers {
				if theirs := costs[p.label]; ours.allocs > theirs.allocs || ours.bytes > theirs.bytes {
					t.Errorf("a query costs %+v, with %s %+v", ours, p.label, theirs)
				}
			}
		})
	}
}
