package bench_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// tableConns is the cap of all pools of the table, unless a row says another.
const tableConns = 8

// workloads are what an application does with a database.
var workloads = []struct {
	label string
	do    func(ctx context.Context, c client) error
}{
	{"select", func(ctx context.Context, c client) error { return c.query(ctx) }},
	{"insert", func(ctx context.Context, c client) error { return c.exec(ctx) }},
	{"tx-of-3", func(ctx context.Context, c client) error { return c.tx(ctx) }},
	{"rows-10", func(ctx context.Context, c client) error { return c.rows(ctx, 10) }},
	{"rows-1000", func(ctx context.Context, c client) error { return c.rows(ctx, 1000) }},
}

// benchStatements compares throughput and processor time of single statements and short
// transactions on 8 connections. The context can be cancelled, as a request's can.
func benchStatements(b *testing.B, all *document) {
	t := all.table("Statements on 8 connections. The first column: operations in a second, processor time of one. " +
		"The others: throughput, then processor time, as shares of the first (median and quartiles).")
	for _, w := range workloads {
		for _, goroutines := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("what=%s/goroutines=%d", w.label, goroutines), func(b *testing.B) {
				uri := written(b)
				results := contest(b, b.Context(), goroutines, roundsOf(), func(tb testing.TB) (entrants []entrant) {
					for _, c := range allClients(tb, uri, tableConns) {
						entrants = append(entrants, entrant{c.label, func(ctx context.Context) error { return w.do(ctx, c) }})
					}
					return entrants
				})
				t.compared(fmt.Sprintf("%s, %d", w.label, goroutines), results)
				report(b, results)
			})
		}
	}
}

// written makes a database with the table that inserts write to.
func written(tb testing.TB) (uri string) {
	tb.Helper()
	cluster := pgtest.Shared(tb)
	uri = cluster.Database(tb)
	if _, err := cluster.AdminIn(tb, databaseOf(tb, uri)).Exec(tb.Context(), createWritten); err != nil {
		tb.Fatal(err)
	}
	return uri
}
