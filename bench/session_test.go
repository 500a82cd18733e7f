package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/session"
)

// runner is a *sql.DB or a *sql.Tx.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// one is a transaction's single statement, three are the statements of a longer one.
func one(ctx context.Context, db runner) error {
	_, err := db.ExecContext(ctx, insert, 1, 2)
	return err
}

func three(ctx context.Context, db runner) error {
	if err := scanInt(db.QueryRowContext(ctx, query, 42)); err != nil {
		return err
	}
	if err := one(ctx, db); err != nil {
		return err
	}
	return scanInt(db.QueryRowContext(ctx, query, 42))
}

// inSQLTx runs f in a transaction of database/sql.
func inSQLTx(ctx context.Context, db *sql.DB, f func(ctx context.Context, db runner) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := f(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// inTx runs f in a transaction of its context.
func inTx(ctx context.Context, db *sql.DB, f func(ctx context.Context, db runner) error) error {
	return session.Tx(ctx, db, nil, func(ctx context.Context) error { return f(ctx, db) })
}

// sessionWork is work that has a session or a transaction. plain is how code for database/sql does
// it, bound how code does it whose context has the session.
var sessionWork = []struct {
	label        string
	plain, bound func(ctx context.Context, db *sql.DB) error
}{
	{
		"request of 5 queries",
		func(ctx context.Context, db *sql.DB) error {
			return request(ctx, 0, func(ctx context.Context) error { return oneQuery(ctx, db) })
		},
		func(ctx context.Context, db *sql.DB) error { return inSession(ctx, 0, db) },
	},
	{
		"tx of 1",
		func(ctx context.Context, db *sql.DB) error { return inSQLTx(ctx, db, one) },
		func(ctx context.Context, db *sql.DB) error { return inTx(ctx, db, one) },
	},
	{
		"tx of 3",
		func(ctx context.Context, db *sql.DB) error { return inSQLTx(ctx, db, three) },
		func(ctx context.Context, db *sql.DB) error { return inTx(ctx, db, three) },
	},
	{
		"tx of 3 in a session",
		func(ctx context.Context, db *sql.DB) error { return inSQLTx(ctx, db, three) },
		func(ctx context.Context, db *sql.DB) error {
			return session.Do(ctx, db, func(ctx context.Context) error { return inTx(ctx, db, three) })
		},
	},
	{
		"tx of 3 with a setting",
		func(ctx context.Context, db *sql.DB) error {
			return inSQLTx(ctx, db, func(ctx context.Context, tx runner) error {
				if _, err := tx.ExecContext(ctx, "select set_config('app.tenant', $1, true)", "7"); err != nil {
					return err
				}
				return three(ctx, tx)
			})
		},
		func(ctx context.Context, db *sql.DB) error {
			return inTx(session.WithSettings(ctx, map[string]string{"app.tenant": "7"}), db, three)
		},
	},
}

// Labels of the columns of sessions.
const (
	labelPgsafe = "pgsafe"
	labelBound  = "pgsafe-session"
)

// sessionEntrants are the ways to do work number i.
func sessionEntrants(tb testing.TB, uri string, i int) []entrant {
	w := sessionWork[i]
	run := func(label string, db *sql.DB, do func(ctx context.Context, db *sql.DB) error) entrant {
		return entrant{label, func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx) // as net/http makes one for each request
			defer cancel()
			return do(ctx, db)
		}}
	}
	return []entrant{
		run(labelPgx, openPgx(tb, uri, tableConns), w.plain),
		run(labelAgain, openPgx(tb, uri, tableConns), w.plain),
		run(labelPgsafe, openPgsafeCapped(tb, uri, tableConns), w.plain),
		run(labelBound, openPgsafeCapped(tb, uri, tableConns), w.bound),
	}
}

// benchSessions compares sessions and transactions of the context with code for database/sql.
func benchSessions(b *testing.B, all *document) {
	counts := all.table("Allocations / bytes / round trips of one session or transaction, one goroutine.")
	times := all.table("Sessions and transactions on 8 connections. The first column: operations in a second, " +
		"processor time of one. The others: throughput, then processor time, as shares of the first.")
	for i, w := range sessionWork {
		for _, goroutines := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("what=%s/goroutines=%d", w.label, goroutines), func(b *testing.B) {
				uri := written(b)
				results := contest(b, b.Context(), goroutines, roundsOf(), func(tb testing.TB) []entrant {
					return sessionEntrants(tb, uri, i)
				})
				times.compared(fmt.Sprintf("%s, %d", w.label, goroutines), results)
				report(b, results)
				if goroutines > 1 {
					return
				}
				r := counts.row(w.label)
				for j, trips := range roundTrips(b, i) {
					counts.cell(r, results[j].label, "%.0f / %.0f / %.0f", results[j].allocs, results[j].bytes, trips)
				}
			})
		}
	}
}

// roundTrips counts what one run of work number i takes with each entrant, once it is warm.
func roundTrips(tb testing.TB, i int) []float64 {
	tb.Helper()
	uri := written(tb)
	proxy := pgtest.NewProxy(tb, pgtest.Shared(tb))
	entrants := sessionEntrants(tb, proxy.URI(databaseOf(tb, uri)), i)
	trips := make([]float64, len(entrants))
	const runs = 10
	for j, e := range entrants {
		for n := range 2 * runs {
			if n == runs {
				proxy.Reset()
			}
			if err := e.do(tb.Context()); err != nil {
				tb.Fatal(err)
			}
		}
		trips[j] = float64(proxy.RoundTrips()) / runs
	}
	return trips
}

// TestSessionRoundTrips holds the round trips of sessions and transactions of the context.
func TestSessionRoundTrips(t *testing.T) {
	for i, w := range sessionWork {
		t.Run("the context adds no round trip to a "+w.label, func(t *testing.T) {
			trips := roundTrips(t, i)
			t.Logf("round trips with pgx, pgx again, pgsafe, and pgsafe with the context: %v", trips)
			if trips[3] > trips[0] || trips[2] > trips[0] {
				t.Errorf("pgx takes %v round trips, pgsafe %v, and with the context %v", trips[0], trips[2], trips[3])
			}
		})
	}
}

// sessionBounds bound the allocations and bytes of work in a session or transaction of the context.
var sessionBounds = map[string]struct{ allocs, bytes float64 }{
	"tx of 3": {100, 6000},
}

// TestSessionAllocations holds the allocations of transactions of the context.
func TestSessionAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates too")
	}
	uri := written(t)
	for i, w := range sessionWork {
		t.Run("a "+w.label+" allocates no more than its bound", func(t *testing.T) {
			for _, e := range sessionEntrants(t, uri, i) {
				allocs, bytes := allocated(t, e)
				t.Logf("%s: %.1f allocations, %.0f bytes", e.label, allocs, bytes)
				bound, bounded := sessionBounds[w.label]
				if bounded && e.label == labelBound && (allocs > bound.allocs || bytes > bound.bytes) {
					t.Errorf("%.1f allocations and %.0f bytes, at most %.0f and %.0f are allowed",
						allocs, bytes, bound.allocs, bound.bytes)
				}
			}
		})
	}
}

// allocated returns what one run of an entrant allocates once it is warm. It takes the least of
// some tries, because goroutines in the background allocate too.
func allocated(tb testing.TB, e entrant) (allocs, bytes float64) {
	tb.Helper()
	const runs = 100
	for try := range 6 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if err := e.do(tb.Context()); err != nil {
				tb.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		a, b := float64(after.Mallocs-before.Mallocs)/runs, float64(after.TotalAlloc-before.TotalAlloc)/runs
		if try == 1 || a < allocs { // the first try is the warm-up
			allocs, bytes = a, b
		}
	}
	return allocs, bytes
}
