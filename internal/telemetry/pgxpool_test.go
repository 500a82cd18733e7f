package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// openNative opens a pgxpool of one connection that only the Tracer knows, on a new database with
// an empty table people.
func (r *recorder) openNative(change func(*pgxpool.Config)) *pgxpool.Pool {
	r.t.Helper()
	config, err := pgxpool.ParseConfig(withPeople(r.t, pgtest.Shared(r.t)))
	check.OK(r.t, err)
	config.MaxConns = 1
	config.ConnConfig.Tracer = tracing.New(tracing.Config{
		TracerProvider: r.Tracer, MeterProvider: r.Meter,
		Host: config.ConnConfig.Host, Port: config.ConnConfig.Port, Database: config.ConnConfig.Database,
	})
	if change != nil {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	check.OK(r.t, err)
	r.t.Cleanup(pool.Close)
	return pool
}

func TestATracerOfAPgxpoolSeesItsStatementsAndConnections(t *testing.T) {
	ctx := context.Background()
	t.Run("a statement has its span below the request, and the span of its wait", func(t *testing.T) {
		r := newRecorder(t)
		pool := r.openNative(nil)
		r.Within("request", func(ctx context.Context) {
			_, err := pool.Exec(ctx, "INSERT INTO people VALUES ($1, 'Ada')", 1)
			check.OK(t, err)
		})
		s := r.One("INSERT people")
		if s.Parent().SpanID() != r.One("request").SpanContext().SpanID() ||
			oteltest.Text(s, "server.address") == "" || oteltest.Text(s, "db.client.connection.pool.name") == "" {
			t.Errorf("got\n%s", r.Tree())
		}
		if w := r.One("pgsafe.pool.wait"); w.Parent().SpanID() != s.SpanContext().SpanID() {
			t.Errorf("the wait for the dial is not below the statement:\n%s", r.Tree())
		}
		r.One("CONNECT")
	})
	t.Run("a dial that fails is counted and timed", func(t *testing.T) {
		r := newRecorder(t)
		config, err := pgsafe.NewPoolConfig(fmt.Sprintf("postgres://u@127.0.0.1:%d/db?sslmode=disable", pgtest.ClosedPort(t)),
			r.options()...)
		check.OK(t, err)
		pool, err := pgxpool.NewWithConfig(ctx, config)
		check.OK(t, err)
		defer pool.Close()
		if pool.Ping(ctx) == nil {
			t.Error("the port is open")
		}
		if got := r.Sum("pgsafe.connection.failures", attribute.String("error.type", "refused")); got != 1 {
			t.Errorf("%d failed dials were counted, want 1:\n%s", got, r.Dump())
		}
		check.Equal(t, r.Count("pgsafe.connection.failure_time"), uint64(1))
	})
	t.Run("waits and uses are measured once each", func(t *testing.T) {
		r := newRecorder(t)
		pool := r.openNative(nil)
		for range 3 {
			check.OK(t, pool.Ping(ctx))
		}
		for _, name := range []string{"db.client.connection.wait_time", "db.client.connection.use_time"} {
			if got := r.Count(name); got != 3 {
				t.Errorf("%s has %d measurements, want 3", name, got)
			}
		}
	})
	t.Run("used, idle and waiting are observed", func(t *testing.T) {
		r := newRecorder(t)
		pool := r.openNative(nil)
		held, err := pool.Acquire(ctx)
		check.OK(t, err)
		waited := make(chan error, 1)
		go func() { waited <- pool.Ping(ctx) }()
		pgtest.Eventually(t, "a caller waits", func() bool { return r.Sum("db.client.connection.pending_requests") == 1 })
		if r.Sum("db.client.connection.count", used) != 1 || r.Sum("db.client.connection.max") != 1 {
			t.Errorf("got\n%s", r.Dump())
		}
		held.Release()
		check.OK(t, <-waited)
		pgtest.Eventually(t, "the connection is idle", func() bool { return r.Sum("db.client.connection.count", idle) == 1 })
		if got := r.Sum("db.client.connection.pending_requests"); got != 0 {
			t.Errorf("%d callers wait", got)
		}
	})
	t.Run("a wait that fails is an event on the caller's span and a timeout", func(t *testing.T) {
		r := newRecorder(t)
		pool := r.openNative(nil)
		held, err := pool.Acquire(ctx)
		check.OK(t, err)
		defer held.Release()
		r.Within("request", func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			if pool.Ping(ctx) == nil {
				t.Error("there was a second connection")
			}
		})
		if events := r.One("request").Events(); len(events) != 1 || events[0].Name != "pgsafe.pool.wait" {
			t.Errorf("got\n%s", r.Tree())
		}
		if got := r.Sum("db.client.connection.timeouts"); got != 1 {
			t.Errorf("%d timeouts were counted, want 1", got)
		}
	})
	t.Run("releasing a connection ends its open rows and its transaction", func(t *testing.T) {
		r := newRecorder(t)
		pool := r.openNative(nil)
		conn, err := pool.Acquire(ctx)
		check.OK(t, err)
		_, err = conn.Exec(ctx, "BEGIN")
		check.OK(t, err)
		_, err = conn.Query(ctx, "SELECT * FROM people")
		check.OK(t, err)
		conn.Release()
		if got := oteltest.Text(r.One("SELECT people"), "pgsafe.rows.unclosed"); got != "true" {
			t.Errorf("got\n%s", r.Tree())
		}
		if got := oteltest.Text(r.One("TRANSACTION"), "pgsafe.transaction.outcome"); got != "rollback" {
			t.Errorf("got\n%s", r.Tree())
		}
	})
	t.Run("a wait without a statement is not an event of the next user's statement", func(t *testing.T) {
		r := newRecorder(t)
		pool := r.openNative(nil)
		conn, err := pool.Acquire(ctx) // waits for the dial
		check.OK(t, err)
		conn.Release()
		idle := pool.AcquireAllIdle(ctx) // has no trace, and so no wait
		_, err = idle[0].Exec(ctx, "SELECT 1")
		check.OK(t, err)
		idle[0].Release()
		if events := r.One("SELECT").Events(); len(events) != 0 {
			t.Errorf("got\n%s", r.Tree())
		}
	})
}

// statementsOnly hides the other tracers of a Tracer.
type statementsOnly struct{ pgx.QueryTracer }

func TestAConnectionThatTheTracerDidNotSeeBeingMadeHasItsOwnAddress(t *testing.T) {
	r := newRecorder(t)
	tracer := tracing.New(tracing.Config{TracerProvider: r.Tracer, MeterProvider: r.Meter, Host: "elsewhere"})
	pool := r.openNative(func(config *pgxpool.Config) { config.ConnConfig.Tracer = statementsOnly{tracer} })
	_, err := pool.Exec(context.Background(), "SELECT 1")
	check.OK(t, err)
	if got := oteltest.Text(r.One("SELECT"), "server.address"); got != "127.0.0.1" {
		t.Errorf("the address is %q", got)
	}
	if n := len(r.Ended("CONNECT")); n != 0 {
		t.Errorf("there are %d spans of dials", n)
	}
}

func TestATracerKeepsNeitherAPgxpoolNorItsConnectionsInMemory(t *testing.T) {
	ctx := context.Background()
	freed := func(t *testing.T, what string, p weak.Pointer[pgx.Conn]) {
		t.Helper()
		pgtest.Eventually(t, what+" is freed", func() bool {
			runtime.GC()
			return p.Value() == nil
		})
	}
	t.Run("a hijacked connection is freed", func(t *testing.T) {
		r := newRecorder(t)
		pool := r.openNative(nil)
		p := func() weak.Pointer[pgx.Conn] {
			conn, err := pool.Acquire(ctx)
			check.OK(t, err)
			hijacked := conn.Hijack()
			check.OK(t, hijacked.Close(ctx))
			return weak.Make(hijacked)
		}()
		freed(t, "the connection", p)
	})
	t.Run("a connection that AfterConnect refuses is freed", func(t *testing.T) {
		r := newRecorder(t)
		var refused weak.Pointer[pgx.Conn]
		pool := r.openNative(func(config *pgxpool.Config) {
			config.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
				refused = weak.Make(c)
				return errors.New("refused")
			}
		})
		if pool.Ping(ctx) == nil {
			t.Fatal("AfterConnect refuses all connections")
		}
		freed(t, "the connection", refused)
	})
	t.Run("a closed pool is freed and no longer observed", func(t *testing.T) {
		r := newRecorder(t)
		func() {
			config, err := pgxpool.ParseConfig(pgtest.Shared(t).URI("postgres"))
			check.OK(t, err)
			config.ConnConfig.Tracer = tracing.New(tracing.Config{TracerProvider: r.Tracer, MeterProvider: r.Meter})
			pool, err := pgxpool.NewWithConfig(ctx, config)
			check.OK(t, err)
			check.OK(t, pool.Ping(ctx))
			if _, there := r.Metrics()["db.client.connection.count"]; !there {
				t.Error("the open pool is not observed")
			}
			pool.Close()
		}()
		pgtest.Eventually(t, "the observation ends", func() bool {
			runtime.GC()
			_, there := r.Metrics()["db.client.connection.count"]
			return !there
		})
	})
}

func TestANilTracerIsSafeForThePool(t *testing.T) {
	var none *tracing.Tracer
	conn, err := pgx.Connect(context.Background(), pgtest.Shared(t).URI("postgres"))
	check.OK(t, err)
	defer conn.Close(context.Background())
	none.Acquired(context.Background(), conn, time.Now(), "dial")
	none.Unserved(context.Background(), "SELECT 1", time.Second, "pool", context.DeadlineExceeded, nil)
	none.Used(time.Second)
	none.Settled(conn)
	none.ConnClosing(conn)
	none.Recovered("statement")
	none.Canceled(nil)
	none.LeakedState("listen", "LISTEN")
	none.Observe(func() tracing.Pool { return tracing.Pool{} })
	none.ObserveCertificate(func() (time.Time, bool) { return time.Time{}, false })
	none.ObserveDB(nil)
	config := &pgconn.Config{}
	none.Watch(config)
	if config.DialFunc != nil {
		t.Error("it watches a dial")
	}
	if next, err := none.Wrap(nil); next != nil || err != nil {
		t.Errorf("it wraps a connector: %v, %v", next, err)
	}
	none.Close()
}
