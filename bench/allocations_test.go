package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/telemetry"
)

// allocationRounds is few, because these numbers hardly differ between rounds.
const allocationRounds = blockRounds

// benchAllocations counts what a query allocates, with and without a cap on connections. As in
// BenchmarkTelemetry, the context cannot be cancelled.
func benchAllocations(b *testing.B, all *document) {
	t := all.table("Allocations / bytes of a query, medians of 3 turns.")
	uri := pgtest.Shared(b).Database(b)
	none, sampled := sdk{label: "none", ctx: context.Background()}, sampled(b)
	for _, s := range []sdk{none, sampled} {
		for _, goroutines := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("sdk=%s/goroutines=%d", s.label, goroutines), func(b *testing.B) {
				results := contest(b, s.ctx, goroutines, allocationRounds, func(tb testing.TB) []entrant {
					return allocationEntrants(tb, uri, s)
				})
				r := t.row(fmt.Sprintf("SDK: %s, %d", s.label, goroutines))
				for _, e := range results {
					t.cell(r, e.label, "%.1f / %.0f", e.allocs, e.bytes)
				}
				report(b, results)
			})
		}
	}
}

func allocationEntrants(tb testing.TB, uri string, s sdk) (entrants []entrant) {
	for _, d := range allocating {
		db, err := d.open(uri, s)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = db.Close() })
		var calls atomic.Int64
		entrants = append(entrants, entrant{d.label, func(ctx context.Context) error {
			// Each query has another argument, as an application's have.
			return scanInt(db.QueryRowContext(ctx, query, calls.Add(1)))
		}})
	}
	return entrants
}

// allocating are the pools whose allocations are counted. The pools of pgx keep
// all connections idle.
var allocating = []tracedDriver{
	{labelPgx, func(dsn string, _ sdk) (*sql.DB, error) { return keptIdle(sql.Open("pgx", dsn)) }},
	{"otelpgx", func(dsn string, s sdk) (*sql.DB, error) { return keptIdle(openOtelpgx(dsn, s)) }},
	{"pgsafe-sql.Open", openRegistered},
	{"pgsafe-sql.Open-capped", func(dsn string, s sdk) (*sql.DB, error) {
		return openRegistered(withCap(dsn, tableConns), s)
	}},
	{"pgsafe-sql.Open-SetMaxOpenConns", func(dsn string, s sdk) (*sql.DB, error) {
		db, err := openRegistered(dsn, s)
		if err == nil {
			db.SetMaxOpenConns(tableConns) // two idle ones stay the most that database/sql keeps
		}
		return db, err
	}},
	{"pgsafe.Open", openPgsafe},
	{"pgsafe.Open-capped", func(dsn string, s sdk) (*sql.DB, error) { return openPgsafe(withCap(dsn, tableConns), s) }},
}

func keptIdle(db *sql.DB, err error) (*sql.DB, error) {
	if err == nil {
		db.SetMaxOpenConns(tableConns)
		db.SetMaxIdleConns(tableConns)
	}
	return db, err
}

// registered makes the names of drivers differ.
var registered atomic.Int64

// openRegistered is plain sql.Open. A name of its own brings the providers of an SDK.
func openRegistered(dsn string, s sdk) (*sql.DB, error) {
	name := pgsafe.DriverName
	if s.providers != nil {
		name = fmt.Sprintf("pgsafe-bench-%d", registered.Add(1))
		pgsafe.Register(name, pgsafe.WithTelemetry(telemetry.WithTracerProvider(s.tracer()), telemetry.WithMeterProvider(s.meter())))
	}
	return sql.Open(name, dsn)
}
