package faults_test

import (
	"database/sql"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

var long = flag.Bool("long", false, "make each fault as long, and as often, as in the numbers that are published")

func TestMain(m *testing.M) { pgtest.Main(m) }

// atMost is n with -long and less without.
func atMost[T int | time.Duration](n, less T) T {
	if *long {
		return n
	}
	return less
}

// fault is something that happens to an application. run opens its database with the driver and tells what became of it.
type fault struct {
	name string
	run  func(t *testing.T, driver string) outcome
}

// outcome is a row of the table.
type outcome struct {
	good   int64
	failed map[string]int // by kind and SQLSTATE
	opened int64
	first  time.Duration // 0 if the fault has no end
}

func TestFaults(t *testing.T) {
	faults := slices.Concat([]fault{
		{"every fifth statement is cancelled", cancelStorm},
		{"idle transactions are cancelled", idleTransactions},
		{"every backend is terminated", terminated},
	}, restarts, frozen, []fault{
		{"connections are reset", reset},
		{"the network swallows everything", swallowed},
		{"the primary is killed", killed},
		{"the client certificate is replaced all the time", renewed},
	})
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "fault\tdriver\tgood\tfailed\topened\tfirst")
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			for _, driver := range []string{"pgx", pgsafe.DriverName} {
				o := f.run(t, driver)
				fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d\t%s\n", f.name, driver, o.good, o.failures(), o.opened, o.firstSuccess())
			}
		})
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
}

// failures is how many, and of what kind.
func (o outcome) failures() string {
	total := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(o.failed)) {
		total += o.failed[kind]
		kinds = append(kinds, fmt.Sprintf("%d %s", o.failed[kind], kind))
	}
	if total == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(kinds, ", "))
}

func (o outcome) firstSuccess() string {
	if o.first == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", o.first.Seconds())
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	check.OK(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// database is the name in a URI.
func database(t *testing.T, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	check.OK(t, err)
	return strings.TrimPrefix(u.Path, "/")
}
