package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// burstConns is how many statements are cancelled at once.
const burstConns = 50

// benchBurst cancels 50 statements at once, over TLS and a slow network. It counts how many of their
// connections are in the pool afterwards.
func benchBurst(b *testing.B, all *document) {
	t := all.table("50 statements are cancelled at once, over TLS. " +
		"Connections kept, seconds until all callers had their errors.")
	// The statements that pgx gives up run on for a while, beside new connections.
	cluster := pgtest.New(b, pgserver.Options{
		Auth: pgserver.SCRAM, Password: pgtest.TLSPassword, TLS: true, Settings: map[string]string{"max_connections": "300"},
	})
	roundTrips := []time.Duration{50 * time.Millisecond}
	if !testing.Short() {
		roundTrips = append(roundTrips, 200*time.Millisecond)
	}
	for _, roundTrip := range roundTrips {
		b.Run(fmt.Sprintf("roundtrip=%v", roundTrip), func(b *testing.B) {
			r := t.row(fmt.Sprintf("%v of latency", roundTrip))
			for _, d := range capped {
				kept, took := burst(b, cluster, roundTrip, d.open)
				t.cell(r, d.label, "%d, %.2f", kept, took.Seconds())
				reportMetrics(b, d.label, map[string]float64{"conns-kept": float64(kept), "cancel-s": took.Seconds()})
			}
		})
	}
}

func burst(
	b *testing.B, cluster *pgtest.Cluster, roundTrip time.Duration,
	open func(tb testing.TB, uri string, conns int) *sql.DB,
) (kept int, took time.Duration) {
	uri := cluster.Database(b)
	parsed, err := url.Parse(uri)
	if err != nil {
		b.Fatal(err)
	}
	parsed.Host = newRelay(b, parsed.Host, roundTrip).addr()
	db := open(b, parsed.String(), burstConns)
	admin := cluster.AdminIn(b, databaseOf(b, uri))

	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var statements sync.WaitGroup
	for range burstConns {
		statements.Go(func() {
			if _, err := db.ExecContext(ctx, "select pg_sleep(600)"); err == nil {
				b.Error("a statement of ten minutes has ended")
			}
		})
	}
	var sleeping []int64
	pgtest.Eventually(b, "all statements run", func() bool {
		sleeping = backends(b, admin, "state = 'active'")
		return len(sleeping) == burstConns
	})
	began := time.Now()
	cancel()
	statements.Wait()
	took = time.Since(began)

	useAll(b, db)
	for _, pid := range backends(b, admin, "state = 'idle'") {
		for _, before := range sleeping {
			if pid == before {
				kept++
			}
		}
	}
	if err := db.Close(); err != nil {
		b.Error(err)
	}
	pgtest.Eventually(b, "no connection is left for the next driver to share the server with", func() bool {
		_, err := admin.Exec(b.Context(), "select pg_terminate_backend(pid) from pg_stat_activity "+others)
		return err == nil && len(backends(b, admin, "true")) == 0
	})
	return kept, took
}

// useAll runs as many statements at once as the pool has connections, so it finds the dead ones.
func useAll(b *testing.B, db *sql.DB) {
	var wg sync.WaitGroup
	for range burstConns {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
			defer cancel()
			if _, err := db.ExecContext(ctx, "select pg_sleep(0.5)"); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}

// others selects the client's backends in the administrator's database.
const others = "where datname = current_database() and pid <> pg_backend_pid()"

// backends returns the process ids of the backends in the administrator's database that meet a
// condition.
func backends(tb testing.TB, admin *pgx.Conn, condition string) []int64 {
	tb.Helper()
	rows, err := admin.Query(tb.Context(), "select pid::int8 from pg_stat_activity "+others+" and "+condition)
	if err != nil {
		tb.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		tb.Fatal(err)
	}
	return pids
}
