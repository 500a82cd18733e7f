package bench_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var rounds = flag.Int("rounds", 0, "turns of each entrant in a row of BenchmarkTable; 0 for 30, or 6 with -short")

// roundsOf returns the number of rounds.
func roundsOf() int {
	switch {
	case *rounds > 0:
		return *rounds
	case testing.Short():
		return 6
	default:
		return 30
	}
}

// faultTime is how long a row under faults lasts.
func faultTime() time.Duration {
	if testing.Short() {
		return time.Second
	}
	return stormTime
}

// BenchmarkTable measures all that the documentation has numbers of, and prints Markdown tables:
//
//	go test -run '^$' -bench Table -benchtime 1x ./bench
//	go test -run '^$' -bench Table -benchtime 1x -short ./bench
//	go test ./bench -run '^$' -bench Table/requests -benchtime 1x -rounds 160
//	go test ./bench -run '^$' -bench Table/sessions -benchtime 1x -rounds 160
//
// The first takes about seven minutes, the second about two. Each driver is a benchmark with
// metrics for benchstat. They were measured once, before that benchmark began, so its number of
// iterations means nothing.
func BenchmarkTable(b *testing.B) {
	var all document
	b.Run("statements", func(b *testing.B) { benchStatements(b, &all) })
	b.Run("requests", func(b *testing.B) { benchRequests(b, &all) })
	b.Run("sessions", func(b *testing.B) { benchSessions(b, &all) })
	b.Run("allocations", func(b *testing.B) { benchAllocations(b, &all) })
	b.Run("storm", func(b *testing.B) { benchStorm(b, &all) })
	b.Run("burst", func(b *testing.B) { benchBurst(b, &all) })
	b.Run("terminated", func(b *testing.B) { benchTerminated(b, &all) })
	b.Run("restart", func(b *testing.B) { benchRestart(b, &all) })
	all.print()
}

// document is the tables of one run.
type document struct{ tables []*table }

// table is one Markdown table: a row for each thing measured, a column for each driver.
type table struct {
	title   string // what a cell holds
	columns []string
	rows    []row
}

type row struct {
	what  string
	cells map[string]string // by column
}

func (d *document) table(title string) *table {
	t := &table{title: title}
	d.tables = append(d.tables, t)
	return t
}

// row begins a row. Its cells are added with cell.
func (t *table) row(what string) row {
	r := row{what, map[string]string{}}
	t.rows = append(t.rows, r)
	return r
}

// cell sets a cell. Columns are in the order of their first use.
func (t *table) cell(r row, column, format string, args ...any) {
	if !slices.Contains(t.columns, column) {
		t.columns = append(t.columns, column)
	}
	r.cells[column] = fmt.Sprintf(format, args...)
}

// compared is a row of one contest: what the first entrant does, and the others' ratios to it.
func (t *table) compared(what string, results []result) {
	r := t.row(what)
	for i, e := range results {
		if i == 0 {
			t.cell(r, e.label, "%.0f/s, %.1f µs", 1e9/e.wall, e.cpu/1e3)
			continue
		}
		t.cell(r, e.label, "%.2f (%.2f-%.2f), %.2f (%.2f-%.2f)", e.rate.median, e.rate.first, e.rate.third,
			e.cpuRatio.median, e.cpuRatio.first, e.cpuRatio.third)
	}
}

func (d *document) print() {
	var text strings.Builder
	for _, t := range d.tables {
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprintf(&text, "\n%s\n\n| | %s |\n|---|%s\n", t.title, strings.Join(t.columns, " | "),
			strings.Repeat("---|", len(t.columns)))
		for _, r := range t.rows {
			fmt.Fprintf(&text, "| %s |", r.what)
			for _, column := range t.columns {
				fmt.Fprintf(&text, " %s |", r.cells[column])
			}
			fmt.Fprintln(&text)
		}
	}
	fmt.Fprintln(os.Stdout, text.String())
}
