package bench_test

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// drivers are what is compared, under the name that database/sql knows.
var drivers = []struct{ label, name string }{
	{"pgx", "pgx"},
	{"pq", "postgres"},
	{"pgsafe", pgsafe.DriverName},
}

const query = "select $1::int8"

func oneQuery(ctx context.Context, db *sql.DB) error {
	return scanInt(db.QueryRowContext(ctx, query, 42))
}

func scanInt(row *sql.Row) error {
	var n int64
	return row.Scan(&n)
}

func open(tb testing.TB, driverName, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open(driverName, dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// databaseOf is the name in a URI.
func databaseOf(tb testing.TB, uri string) string {
	tb.Helper()
	parsed, err := url.Parse(uri)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimPrefix(parsed.Path, "/")
}

// openedSince returns a function that counts the connections that the server has let in since.
func openedSince(tb testing.TB, cluster *pgtest.Cluster, uri string) func() int64 {
	tb.Helper()
	database := databaseOf(tb, uri)
	before := cluster.Sessions(tb, database)
	return func() int64 { return cluster.Sessions(tb, database) - before }
}

// BenchmarkOneQuery is one goroutine with one query after another.
func BenchmarkOneQuery(b *testing.B) {
	uri := pgtest.Shared(b).Database(b)
	for _, d := range drivers {
		b.Run("driver="+d.label, func(b *testing.B) {
			db := open(b, d.name, uri)
			b.ReportAllocs()
			for b.Loop() {
				if err := oneQuery(b.Context(), db); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTenInParallel is ten goroutines without a pause, on the default pool.
func BenchmarkTenInParallel(b *testing.B) {
	uri := pgtest.Shared(b).Database(b)
	for _, d := range drivers {
		b.Run("driver="+d.label, func(b *testing.B) {
			db := open(b, d.name, uri)
			b.ReportAllocs()
			var wg sync.WaitGroup
			share := func(worker int) int { return (b.N + worker) / 10 } // adds up to b.N
			b.ResetTimer()
			for worker := range 10 {
				wg.Go(func() {
					for range share(worker) {
						if err := oneQuery(b.Context(), db); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// The load of BenchmarkDefaultPool: what a service does all day.
const (
	goroutines = 20
	maxThink   = 10 * time.Millisecond
	perRun     = 4000 // queries
)

// BenchmarkDefaultPool is 20 goroutines that run a query and think for up to 10 ms, on the default pool, over TLS
// with SCRAM. database/sql keeps two connections idle; what its driver makes of the others is what differs. An
// operation is 4,000 queries. conns/op is what the server let in, mean-us/query the time of a query as its caller sees it.
func BenchmarkDefaultPool(b *testing.B) {
	cluster := pgtest.SharedTLS(b)
	uri := cluster.Database(b)
	for _, d := range drivers {
		b.Run("driver="+d.label, func(b *testing.B) {
			opened := openedSince(b, cluster, uri)
			var busy time.Duration
			for b.Loop() {
				db := open(b, d.name, uri)
				busy += think(b, db)
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
			}
			queries := float64(b.N * perRun)
			b.ReportMetric(float64(opened())/float64(b.N), "conns/op")
			b.ReportMetric(float64(busy.Microseconds())/queries, "mean-us/query")
			b.ReportMetric(queries/b.Elapsed().Seconds(), "queries/s")
		})
	}
}

// think runs the load once and returns the sum of the times that its queries took.
func think(b *testing.B, db *sql.DB) time.Duration {
	var mu sync.Mutex
	var busy time.Duration
	var wg sync.WaitGroup
	for worker := range goroutines {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			var mine time.Duration
			for range perRun / goroutines {
				start := time.Now()
				if err := oneQuery(b.Context(), db); err != nil {
					b.Error(err)
					return
				}
				mine += time.Since(start)
				<-time.After(time.Duration(rnd.Int64N(int64(maxThink))))
			}
			mu.Lock()
			busy += mine
			mu.Unlock()
		})
	}
	wg.Wait()
	return busy
}

func BenchmarkNormalize(b *testing.B) {
	for name, dsn := range map[string]string{
		"canonical": "postgres://app:secret12@db.example.com:5433/orders?sslmode=require",
		"outage":    "postgresql+psycopg2://lwe-admin:y5268[695t-13htgq244t5thj[8q9grq@postgres:5432/ai_workflow_engine?sslmode=require",
	} {
		b.Run("string="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := pgsafe.Normalize(dsn); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHostileString shows that the time grows no faster than the string: the megabytes per second of 64 KiB and of
// 1 MB are of the same size.
func BenchmarkHostileString(b *testing.B) {
	for _, s := range []struct{ name, start, again, end string }{
		{"at", "postgres://u:", "@", "@h/db"},
		{"percent", "postgres://u:", "%", "@h/db"},
		{"at-percent", "postgres://u:", "@%", "@h/db"},
		{"at-host", "postgres://u:", "@h", "/db"},
		{"escapes", "postgres://u:", "%41", "@h/db"},
		{"slash-at", "postgres://u:", "/@h:", "@h/db"},
		{"bracket", "postgres://u:p@", "[", "/db"},
		{"hosts", "postgres://u:p@h", ",h:1", "/db"},
		{"parameters", "postgres://h/db?a.b=c", "&a.b=c", ""},
		{"values", "postgres://h/db?options=", "=", ""},
		{"sqlalchemy", "postgresql+psycopg2://u:", "@/:?", "@h/db"},
		{"jdbc", "jdbc:postgresql://h/db?user=u", "&user=u", ""},
		{"npgsql", "Host=h;Username=u", ";Username='u'", ""},
		{"keyword", "host=h", " user=u", ""},
		{"quotes", "host=h password='", "\\'", "'"},
	} {
		for _, size := range []struct {
			name   string
			length int
		}{{"64KiB", 64 << 10}, {"1MB", 1_000_000}} {
			dsn := s.start + strings.Repeat(s.again, size.length/len(s.again)) + s.end
			b.Run("string="+s.name+"/size="+size.name, func(b *testing.B) {
				b.SetBytes(int64(len(dsn)))
				for b.Loop() {
					_, _ = pgsafe.Normalize(dsn) // most are refused
				}
			})
		}
	}
}

// BenchmarkRefusal is sql.Open with a string that it refuses.
func BenchmarkRefusal(b *testing.B) {
	for name, dsn := range map[string]string{
		"garbage":   "the database of s3cr3t-Pa55",
		"ambiguous": "postgresql://user:pw1234@evil.example/x@host:5432/db",
		"no-file":   "postgres://u:s3cr3t-Pa55@h/db?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
		"64KiB-at":  "postgres://" + strings.Repeat("@%", 32<<10-16),
		"2MB":       "postgres://u:" + strings.Repeat("s3cr3t-Pa5", 200_000) + "@h/db",
	} {
		b.Run("string="+name, func(b *testing.B) {
			for b.Loop() {
				if _, err := sql.Open(pgsafe.DriverName, dsn); err == nil {
					b.Fatal("no error")
				}
			}
		})
	}
}

// TestAllocations holds the one number that is the same everywhere.
func TestAllocations(t *testing.T) {
	uri := pgtest.Shared(t).Database(t)
	allocs := map[string]float64{}
	for _, d := range drivers {
		db := open(t, d.name, uri)
		allocs[d.label] = testing.AllocsPerRun(200, func() {
			if err := oneQuery(t.Context(), db); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Logf("allocations of one query: %v", allocs)
	if allocs["pgsafe"] > allocs["pgx"]+1 {
		t.Errorf("one query costs %v allocations with pgsafe and %v with pgx, at most one more is allowed",
			allocs["pgsafe"], allocs["pgx"])
	}
}
