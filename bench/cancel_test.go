package bench_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"strings"
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

// BenchmarkCancelStorm is 20 goroutines on a pool of 10, every fifth statement of which runs into a deadline of 5 ms. An
// operation is 5 s of it. good/op are statements that were not to be cancelled and succeeded, errors/op those that
// failed, strange/op errors of the others that do not say what their deadline was, and conns/op what the server let in.
func BenchmarkCancelStorm(b *testing.B) {
	clusters := map[string]*pgtest.Cluster{"trust": pgtest.Shared(b), "tls": pgtest.SharedTLS(b)}
	for _, login := range []string{"trust", "tls"} {
		cluster := clusters[login]
		uri := cluster.Database(b)
		parsed, err := url.Parse(uri)
		if err != nil {
			b.Fatal(err)
		}
		for _, d := range drivers {
			if d.label == "pq" {
				continue // it has another idea of a pool under cancellation, and is not what pgsafe stands on
			}
			b.Run("login="+login+"/driver="+d.label, func(b *testing.B) {
				sessions := func() int64 { return cluster.Sessions(b, strings.TrimPrefix(parsed.Path, "/")) }
				before := sessions()
				var s storm
				for b.Loop() {
					s.run(b, open(b, d.name, uri))
				}
				perOp := func(n int64) float64 { return float64(n) / float64(b.N) }
				b.ReportMetric(perOp(s.good.Load()), "good/op")
				b.ReportMetric(perOp(s.failed.Load()), "errors/op")
				b.ReportMetric(perOp(s.strange.Load()), "strange/op")
				b.ReportMetric(perOp(sessions()-before), "conns/op")
				if d.name == pgsafe.DriverName && s.failed.Load()+s.strange.Load() > 0 {
					b.Errorf("%d statements failed, the last with %v", s.failed.Load()+s.strange.Load(), s.last.Load())
				}
			})
		}
	}
}

// storm counts what comes of it.
type storm struct {
	good, failed, strange atomic.Int64
	last                  atomic.Value // of stormError
}

type stormError struct{ error }

func (s *storm) run(b *testing.B, db *sql.DB) {
	db.SetMaxOpenConns(stormPool)
	db.SetMaxIdleConns(stormPool)
	end := time.Now().Add(stormTime)
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
