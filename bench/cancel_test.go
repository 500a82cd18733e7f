package bench_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// The load of BenchmarkCancelStorm: a service whose deadlines run out.
const (
	stormTime     = 5 * time.Second
	stormWorkers  = 20
	stormPool     = 10
	stormEvery    = 5 // every so manyth statement is cancelled
	stormDeadline = 5 * time.Millisecond
)

// BenchmarkCancelStorm is 20 goroutines on a pool of 10. Every fifth statement runs into a deadline
// of 5 ms. An operation is 5 s of it. good/op counts the statements without a deadline that
// succeeded, errors/op the ones that failed. strange/op counts the statements with a deadline whose
// error does not mention it, and conns/op the connections that the server let in.
func BenchmarkCancelStorm(b *testing.B) {
	for _, login := range stormLogins {
		for _, d := range stormDrivers {
			b.Run("login="+login.label+"/driver="+d, func(b *testing.B) {
				cluster := login.cluster(b)
				uri := cluster.Database(b)
				opened := openedSince(b, cluster, uri)
				var s storm
				for b.Loop() {
					s.run(b, open(b, d, uri), stormTime)
				}
				for unit, value := range s.metrics(opened()) {
					b.ReportMetric(value/float64(b.N), unit)
				}
				s.check(b, d)
			})
		}
	}
}

// benchStorm is one such storm for each login and driver.
func benchStorm(b *testing.B, all *document) {
	t := all.table(fmt.Sprintf("Every fifth statement is cancelled, for %v. Good statements, failed ones, "+
		"connections opened.", faultTime()))
	for _, login := range stormLogins {
		b.Run("login="+login.label, func(b *testing.B) {
			cluster := login.cluster(b)
			r := t.row("storm, " + login.label)
			var base float64
			for _, d := range stormDrivers {
				uri := cluster.Database(b)
				opened := openedSince(b, cluster, uri)
				var s storm
				s.run(b, open(b, d, uri), faultTime())
				s.check(b, d)
				m := s.metrics(opened())
				base = cmp.Or(base, m["good/op"])
				m["good/pgx"] = m["good/op"] / base
				t.cell(r, d, "%.0f (%.2f), %.0f, %.0f", m["good/op"], m["good/pgx"], m["errors/op"]+m["strange/op"], m["conns/op"])
				reportMetrics(b, d, m)
			}
		})
	}
}

// stormLogins are the servers of the storms.
var stormLogins = []struct {
	label   string
	cluster func(tb testing.TB) *pgtest.Cluster
}{{"trust", pgtest.Shared}, {"tls", pgtest.SharedTLS}}

// stormDrivers leaves lib/pq out: it treats a pool under cancellation in another way, and pgsafe is
// not built on it.
var stormDrivers = []string{labelPgx, pgsafe.DriverName}

// storm counts what comes of it.
type storm struct {
	good, failed, strange atomic.Int64
	last                  atomic.Value // of stormError
}

type stormError struct{ error }

// metrics are the counts of all operations.
func (s *storm) metrics(opened int64) map[string]float64 {
	return map[string]float64{
		"good/op": float64(s.good.Load()), "errors/op": float64(s.failed.Load()),
		"strange/op": float64(s.strange.Load()), "conns/op": float64(opened),
	}
}

// check fails if a statement of pgsafe failed.
func (s *storm) check(b *testing.B, driver string) {
	if failed := s.failed.Load() + s.strange.Load(); driver == pgsafe.DriverName && failed > 0 {
		b.Errorf("%d statements failed, the last with %v", failed, s.last.Load())
	}
}

func (s *storm) run(b *testing.B, db *sql.DB, length time.Duration) {
	db.SetMaxOpenConns(stormPool)
	db.SetMaxIdleConns(stormPool)
	end := time.Now().Add(length)
	var wg sync.WaitGroup
	for range stormWorkers {
		wg.Go(func() {
			for i := 1; time.Now().Before(end); i++ {
				if i%stormEvery == 0 {
					s.cancelled(b.Context(), db)
				} else {
					s.undisturbed(b.Context(), db)
				}
			}
		})
	}
	wg.Wait()
}

func (s *storm) cancelled(ctx context.Context, db *sql.DB) {
	ctx, cancel := context.WithTimeout(ctx, stormDeadline)
	defer cancel()
	_, err := db.ExecContext(ctx, "select pg_sleep($1)", 10)
	if pgsafe.SQLState(err) != "57014" && !errors.Is(err, context.DeadlineExceeded) {
		s.strange.Add(1)
		s.last.Store(stormError{err})
	}
}

func (s *storm) undisturbed(ctx context.Context, db *sql.DB) {
	if err := oneQuery(ctx, db); err != nil {
		s.failed.Add(1)
		s.last.Store(stormError{err})
		return
	}
	s.good.Add(1)
}
