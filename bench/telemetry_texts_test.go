package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/otel/propagation"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/telemetry"
)

// commented are the drivers that put the trace context into each statement's text.
var commented = []tracedDriver{
	{"pgsafe-comments", func(dsn string, s sdk) (*sql.DB, error) {
		return pgsafe.Open(dsn, pgsafe.WithTelemetry(telemetry.WithTracerProvider(s.tracer()),
			telemetry.WithMeterProvider(s.meter()), telemetry.WithTraceComments()))
	}},
	{"otelsql-comments", func(dsn string, s sdk) (*sql.DB, error) {
		return otelsql.Open("pgx", dsn, otelsqlOptions(s,
			otelsql.WithSQLCommenter(true), otelsql.WithTextMapPropagator(propagation.TraceContext{}))...)
	}},
}

// prepared counts the statements that the server keeps for the connection.
func prepared(tb testing.TB, db *sql.DB) int {
	tb.Helper()
	var n int
	if err := db.QueryRowContext(tb.Context(), "select count(*) from pg_prepared_statements").Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

// BenchmarkTraceComments is one sampled query with the trace context in its text, and without. The column "prepared" is
// how many statements the server keeps for the connection in the end.
func BenchmarkTraceComments(b *testing.B) {
	uri := pgtest.Shared(b).Database(b)
	s := sampled(b)
	for _, d := range append([]tracedDriver{own[0], peers[0]}, commented...) {
		b.Run("driver="+d.label, func(b *testing.B) {
			db := warmed(b, d, uri, s)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				selectArgument(b, s.ctx, db, i)
			}
			b.ReportMetric(float64(prepared(b, db)), "prepared")
		})
	}
}

// TestTraceCommentsPrepareNoStatements shows that statements with comments prepare nothing on the server.
func TestTraceCommentsPrepareNoStatements(t *testing.T) {
	s := sampled(t)
	db := warmed(t, commented[0], pgtest.Shared(t).Database(t), s)
	var text string
	if err := db.QueryRowContext(s.ctx, "select current_query()").Scan(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "traceparent=") {
		t.Fatalf("the server got %q, without a comment", text)
	}
	before := prepared(t, db)
	run(t, s.ctx, db, 600) // pgx keeps 512 statements
	if after := prepared(t, db); after != before {
		t.Errorf("the server kept %d prepared statements before the statements with comments, and %d after", before, after)
	}
}

// selectLiterals runs n statements, each with a text that no other has.
func selectLiterals(tb testing.TB, ctx context.Context, db *sql.DB, from, n int) {
	for i := from; i < from+n; i++ {
		text := fmt.Sprintf("select length('somebody-%09d@example.com') + %d", i, i)
		var length int
		if err := db.QueryRowContext(ctx, text).Scan(&length); err != nil {
			tb.Fatal(err)
		}
	}
}

// heap returns what is in use after all spans have gone.
func heap(tb testing.TB, s sdk) int64 {
	tb.Helper()
	s.providers.flush(tb)
	runtime.GC()
	runtime.GC() // a sync.Pool gives its contents up at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkDifferentTexts is one sampled statement with literals in its text, so that no text comes twice. The column
// "kept-B" is by how much the heap has grown in the end: it is the same after any number of statements, once the
// caches are full.
func BenchmarkDifferentTexts(b *testing.B) {
	uri := pgtest.Shared(b).Database(b)
	s := sampled(b)
	for _, d := range tracedDrivers() {
		b.Run("driver="+d.label, func(b *testing.B) {
			db := warmed(b, d, uri, s)
			before := heap(b, s)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				selectLiterals(b, s.ctx, db, i, 1)
			}
			b.ReportMetric(float64(heap(b, s)-before), "kept-B")
		})
	}
}

// TestDifferentTextsKeepMemoryBounded shows that the cache of statements is full at some time, and then grows no more.
func TestDifferentTextsKeepMemoryBounded(t *testing.T) {
	const texts = 3000 // more than are kept
	s := sampled(t)
	db := warmed(t, own[0], pgtest.Shared(t).Database(t), s)
	empty := heap(t, s)
	selectLiterals(t, s.ctx, db, 0, texts)
	full := heap(t, s)
	selectLiterals(t, s.ctx, db, texts, texts)
	grown := heap(t, s) - full
	t.Logf("the heap grew by %d KiB with the first %d texts, by %d KiB with the next", (full-empty)>>10, texts, grown>>10)
	if limit := (full - empty) / 4; grown > limit {
		t.Errorf("the heap grew by %d B once the caches were full, at most %d B is allowed", grown, limit)
	}
}
