package pgsafe_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/goleak"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/telemetry"
)

func poolConfig(t testing.TB, dsn string, opts ...pgsafe.Option) *pgxpool.Config {
	t.Helper()
	config, err := pgsafe.NewPoolConfig(dsn, opts...)
	check.OK(t, err)
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // it would be a round trip
	return config
}

// openPool opens a pool that closes with the test.
func openPool(t testing.TB, config *pgxpool.Config) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	check.OK(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// oneOf runs a query of one value.
func oneOf[T any](t testing.TB, pool *pgxpool.Pool, query string, args ...any) T {
	t.Helper()
	var v T
	check.OK(t, pool.QueryRow(t.Context(), query, args...).Scan(&v))
	return v
}

// acquireAll has n connections in use at once, and releases them.
func acquireAll(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	for range n {
		conn, err := pool.Acquire(t.Context())
		check.OK(t, err)
		defer conn.Release()
	}
}

func TestAPgxpoolReadsTheSameStrings(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	for name, dsn := range map[string]string{
		"a URI of SQLAlchemy":       briefDSN(cluster.Port()),
		"a URI with a raw password": strings.Replace(briefDSN(cluster.Port()), "+psycopg2", "", 1),
		"key/value with that password": fmt.Sprintf("host=localhost port=%d user=%s password='%s' dbname=%s sslmode=require",
			cluster.Port(), briefUser, briefPassword, briefDatabase),
		"a string of JDBC": fmt.Sprintf("jdbc:postgresql://localhost:%d/%s?user=%s&password=%s&sslmode=require",
			cluster.Port(), briefDatabase, briefUser, url.QueryEscape(briefPassword)),
	} {
		t.Run(name+" reaches its server, user and database over TLS", func(t *testing.T) {
			t.Parallel()
			got := oneOf[string](t, openPool(t, poolConfig(t, dsn)), `select current_user || '@' || current_database() || ' ' || ssl
				from pg_stat_ssl where pid = pg_backend_pid()`)
			check.Equal(t, got, briefUser+"@"+briefDatabase+" true")
		})
	}
	t.Run("a string that pgsafe refuses is a *DSNError", func(t *testing.T) {
		_, err := pgsafe.NewPoolConfig("postgres://u@h/db?frobnicate=1")
		_, isDSN := errors.AsType[*pgsafe.DSNError](err)
		check.Equal(t, isDSN, true)
	})
}

func TestAPgxpoolReadsCredentialsAnew(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	uri := fmt.Sprintf("postgres://%s@localhost:%d/%s?sslmode=require", briefUser, cluster.Port(), briefDatabase)
	t.Run("WithPassword is asked for each connection, and outranks the string", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Int32
		dsn := strings.Replace(uri, "@", ":quite-wrong-7x@", 1)
		acquireAll(t, openPool(t, poolConfig(t, dsn, pgsafe.WithPassword(func(context.Context) (string, error) {
			asked.Add(1)
			return briefPassword, nil
		}))), 3)
		check.Equal(t, asked.Load(), 3)
	})
	t.Run("an error of WithPassword reaches the caller", func(t *testing.T) {
		t.Parallel()
		sealed := errors.New("the vault is sealed")
		pool := openPool(t, poolConfig(t, uri, pgsafe.WithPassword(func(context.Context) (string, error) {
			return "", sealed
		})))
		check.Equal(t, errors.Is(pool.Ping(t.Context()), sealed), true)
	})
	t.Run("a changed password file is read for the next connection", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "passwords")
		check.OK(t, os.WriteFile(file, []byte("*:*:*:*:quite-wrong-7x\n"), 0o600))
		pool := openPool(t, poolConfig(t, with(uri, "passfile="+file)))
		check.Equal(t, pgsafe.KindOf(pool.Ping(t.Context())), pgsafe.KindAuth)
		check.OK(t, os.WriteFile(file, []byte("*:*:*:*:"+briefPassword+"\n"), 0o600))
		check.OK(t, pool.Ping(t.Context()))
	})
	t.Run("a changed client certificate is read for the next connection", func(t *testing.T) {
		t.Parallel()
		dsn, certFile, keyFile := certified(t, -time.Hour)
		pool := openPool(t, poolConfig(t, dsn))
		if pool.Ping(t.Context()) == nil {
			t.Error("the server took an expired certificate")
		}
		check.OK(t, install(t, certFile, keyFile, time.Hour))
		check.OK(t, pool.Ping(t.Context()))
	})
}

func TestAPgxpoolKeepsTheConnectionOfACancelledStatement(t *testing.T) {
	for _, ends := range []error{context.Canceled, context.DeadlineExceeded} {
		t.Run(fmt.Sprintf("a statement that ends with %v has the server's error, which the caller joins", ends), func(t *testing.T) {
			t.Parallel()
			uri := pgtest.Shared(t).Database(t)
			pool := openPool(t, poolConfig(t, uri))
			pid := oneOf[int](t, pool, "select pg_backend_pid()")
			ctx := whenItRuns(t, watch(t, uri), ends)
			_, err := pool.Exec(ctx, sleeps)
			_, isServers := errors.AsType[*pgconn.PgError](err)
			check.Equal(t, isServers && pgsafe.SQLState(err) == "57014", true)
			check.Equal(t, errors.Is(err, ends), false) // docs/migration.md says so
			joined := errors.Join(err, ctx.Err())
			check.Equal(t, errors.Is(joined, ends), true)
			check.Equal(t, pgsafe.KindOf(joined), map[error]pgsafe.Kind{
				context.Canceled: pgsafe.KindCanceled, context.DeadlineExceeded: pgsafe.KindTimeout}[ends])
			check.Equal(t, oneOf[int](t, pool, "select pg_backend_pid()"), pid)
			check.Equal(t, pool.Stat().NewConnsCount(), 1)
		})
	}
	t.Run("a transaction whose statement was cancelled rolls back, and the connection stays", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		pool := openPool(t, poolConfig(t, uri))
		tx, err := pool.Begin(t.Context())
		check.OK(t, err)
		_, err = tx.Exec(whenItRuns(t, watch(t, uri), context.Canceled), sleeps)
		check.Equal(t, pgsafe.SQLState(err), "57014")
		check.OK(t, tx.Rollback(t.Context()))
		check.OK(t, pool.Ping(t.Context()))
		check.Equal(t, pool.Stat().NewConnsCount(), 1)
	})
	t.Run("the next user's statement follows one empty query, and the one after it none", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		pool := openPool(t, poolConfig(t, with(proxy.URI("postgres"), "pool_max_conns=1")))
		cost := func() int64 {
			before := proxy.RoundTrips()
			check.Equal(t, oneOf[int](t, pool, "select $1::int", 1), 1)
			return proxy.RoundTrips() - before
		}
		cost() // prepares it
		usual := cost()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := pool.Exec(ctx, sleeps)
		check.Equal(t, pgsafe.SQLState(err), "57014")
		check.Equal(t, cost(), usual+1)
		check.Equal(t, cost(), usual)
		check.Equal(t, proxy.Cancels(), 1)
	})
	t.Run("no later statement is hit by a cancellation", func(t *testing.T) {
		cancels := int64(numberOfCancels(t, 200))
		const workers = 4
		pool := openPool(t, poolConfig(t, with(pgtest.Shared(t).Database(t), fmt.Sprintf("pool_max_conns=%d", workers))))
		var ended atomic.Int64
		inParallel(t, workers, func(int) error {
			for i := 0; ended.Load() < cancels; i++ {
				// The times are spread up to the statement's own, so that many requests come as it ends.
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*7_919%30_000)*time.Microsecond)
				_, err := pool.Exec(ctx, "select pg_sleep($1)", 0.03)
				cancel()
				switch {
				case pgsafe.SQLState(err) == "57014":
					ended.Add(1)
				case err != nil && !errors.Is(err, context.DeadlineExceeded):
					return err
				}
				if _, err := pool.Exec(t.Context(), "select $1::int", i); err != nil {
					return fmt.Errorf("the next statement: %w", err)
				}
			}
			return nil
		})
		t.Logf("%d statements cancelled, %d connections opened", ended.Load(), pool.Stat().NewConnsCount())
	})
	t.Run("a cancel timeout of zero closes the connection, as pgx does", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		pool := openPool(t, poolConfig(t, with(uri, "pgsafe_cancel_timeout=0s")))
		_, err := pool.Exec(whenItRuns(t, watch(t, uri), context.Canceled), sleeps)
		check.Equal(t, errors.Is(err, context.Canceled), true)
		check.OK(t, pool.Ping(t.Context()))
		check.Equal(t, pool.Stat().NewConnsCount(), 2)
	})
}

func TestAPgxpoolIsVisibleInTelemetry(t *testing.T) {
	recorded := func(t *testing.T, dsn string) (*oteltest.Recorder, *pgxpool.Config) {
		t.Helper()
		r := oteltest.New(t)
		return r, poolConfig(t, dsn, pgsafe.WithTelemetry(
			telemetry.WithTracerProvider(r.Tracer), telemetry.WithMeterProvider(r.Meter)))
	}
	state := attribute.Key("db.client.connection.state")
	t.Run("a statement has a span below the request, and a dial has one", func(t *testing.T) {
		r, config := recorded(t, pgtest.Shared(t).Database(t))
		pool := openPool(t, config)
		r.Within("request", func(ctx context.Context) {
			_, err := pool.Exec(ctx, "select * from pg_class where relname = $1", "quite-private-7x")
			check.OK(t, err)
		})
		s := r.One("SELECT pg_class")
		check.Equal(t, s.Parent().SpanID(), r.One("request").SpanContext().SpanID())
		r.One("CONNECT")
		if strings.Contains(r.Tree(), "quite-private-7x") {
			t.Errorf("a span has the value of an argument:\n%s", r.Tree())
		}
	})
	t.Run("the pool's connections, waits and uses are measured once each", func(t *testing.T) {
		r, config := recorded(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=3"))
		pool := openPool(t, config)
		check.OK(t, pool.Ping(t.Context()))
		conn, err := pool.Acquire(t.Context())
		check.OK(t, err)
		check.Equal(t, r.Sum("db.client.connection.count", state.String("used")), 1)
		check.Equal(t, r.Sum("db.client.connection.max"), 3)
		conn.Release()
		pgtest.Eventually(t, "the connection is idle", func() bool {
			return r.Sum("db.client.connection.count", state.String("idle")) == 1
		})
		check.Equal(t, r.Count("db.client.connection.wait_time"), 2)
		check.Equal(t, r.Count("db.client.connection.use_time"), 2)
		check.Equal(t, r.Count("db.client.connection.create_time"), 1)
	})
	t.Run("a cancel request is counted", func(t *testing.T) {
		uri := pgtest.Shared(t).Database(t)
		r, config := recorded(t, uri)
		pool := openPool(t, config)
		_, err := pool.Exec(whenItRuns(t, watch(t, uri), context.Canceled), sleeps)
		check.Equal(t, pgsafe.SQLState(err), "57014")
		check.Equal(t, r.Sum("pgsafe.cancels"), 1)
	})
	t.Run("a tracer that the application adds to the configuration sees each statement once", func(t *testing.T) {
		r, config := recorded(t, pgtest.Shared(t).Database(t))
		own := &countingTracer{}
		config.ConnConfig.Tracer = multitracer.New(config.ConnConfig.Tracer, own)
		check.Equal(t, oneOf[int](t, openPool(t, config), "select 1"), 1)
		check.Equal(t, own.queries, 1)
		r.One("SELECT")
	})
	t.Run("without telemetry its connections have no tracer", func(t *testing.T) {
		config := poolConfig(t, with(pgtest.Shared(t).Database(t), "pgsafe_telemetry=off"))
		check.Equal(t, config.ConnConfig.Tracer, nil)
		check.OK(t, openPool(t, config).Ping(t.Context()))
	})
	t.Run("a closed pool is freed and no longer observed", func(t *testing.T) {
		r, config := recorded(t, pgtest.Shared(t).Database(t))
		closed := func() weak.Pointer[pgxpool.Pool] {
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			check.OK(t, err)
			check.OK(t, pool.Ping(t.Context()))
			_, observed := r.Metrics()["db.client.connection.count"]
			check.Equal(t, observed, true)
			pool.Close()
			return weak.Make(pool)
		}()
		pgtest.Eventually(t, "the pool is freed and its observation ends", func() bool {
			runtime.GC()
			_, observed := r.Metrics()["db.client.connection.count"]
			return closed.Value() == nil && !observed
		})
	})
}

func TestAPgxpoolHasTheNumbersOfTheProfile(t *testing.T) {
	t.Run("the cap and the floor hold", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		pool := openPool(t, poolConfig(t, uri, pgsafe.WithProfile(pgsafe.Profile{MaxConns: 2, MinIdleConns: 2})))
		pgtest.Eventually(t, "the pool has its floor", func() bool { return pool.Stat().IdleConns() == 2 })
		first, err := pool.Acquire(t.Context())
		check.OK(t, err)
		defer first.Release()
		second, err := pool.Acquire(t.Context())
		check.OK(t, err)
		defer second.Release()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err = pool.Acquire(ctx)
		check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
		check.Equal(t, watch(t, uri).backends(), 2)
	})
	t.Run("each number is in its place", func(t *testing.T) {
		config := poolConfig(t, "host=h", pgsafe.WithProfile(pgsafe.Profile{
			MaxConns: 9, MinIdleConns: 3, MaxConnLifetime: time.Minute, MaxConnLifetimeJitter: 2 * time.Second,
			MaxConnIdleTime: 3 * time.Second, HealthCheckPeriod: 4 * time.Second, PingTimeout: 5 * time.Second,
		}))
		check.Equal(t, config.MaxConns, 9)
		check.Equal(t, config.MinConns, 3)
		check.Equal(t, config.MinIdleConns, 0)
		check.Equal(t, config.MaxConnLifetime, time.Minute)
		check.Equal(t, config.MaxConnLifetimeJitter, 2*time.Second)
		check.Equal(t, config.MaxConnIdleTime, 3*time.Second)
		check.Equal(t, config.HealthCheckPeriod, 4*time.Second)
		check.Equal(t, config.PingTimeout, 5*time.Second)
	})
}

func TestAPgxpoolRecognisesPgBouncer(t *testing.T) {
	pooler, database := pooled(t, nil)
	t.Run("its statements have no names, and each gets its own answer", func(t *testing.T) {
		pool := openPool(t, poolConfig(t, pooler.URI(database)))
		inParallel(t, 10, func(worker int) error {
			for i := range 30 {
				var got int
				want := worker*1000 + i
				query := fmt.Sprintf("select $1::int + %d", i%3)
				if err := pool.QueryRow(t.Context(), query, want).Scan(&got); err != nil {
					return err
				}
				if got != want+i%3 {
					return fmt.Errorf("got %d, want %d", got, want+i%3)
				}
			}
			return nil
		})
		check.OK(t, pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
			check.Equal(t, conn.Conn().Config().DefaultQueryExecMode, pgx.QueryExecModeCacheDescribe)
			return nil
		}))
	})
	t.Run("a mode of execution that the string names stays", func(t *testing.T) {
		pool := openPool(t, poolConfig(t, with(pooler.URI(database), "default_query_exec_mode=simple_protocol")))
		check.OK(t, pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
			check.Equal(t, conn.Conn().Config().DefaultQueryExecMode, pgx.QueryExecModeSimpleProtocol)
			return nil
		}))
	})
}

func TestAPgxpoolCallsTheFunctionsOfTheApplication(t *testing.T) {
	t.Run("WithBeforeConnect and WithAfterConnect run once for each connection", func(t *testing.T) {
		t.Parallel()
		var before, after atomic.Int32
		pool := openPool(t, poolConfig(t, pgtest.Shared(t).Database(t),
			pgsafe.WithBeforeConnect(func(_ context.Context, cc *pgx.ConnConfig) error {
				before.Add(1)
				cc.RuntimeParams["application_name"] = "orders"
				return nil
			}),
			pgsafe.WithAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
				after.Add(1)
				_, err := conn.Exec(ctx, "set statement_timeout = '7s'")
				return err
			})))
		acquireAll(t, pool, 3)
		check.Equal(t, before.Load(), 3)
		check.Equal(t, after.Load(), 3)
		check.Equal(t, oneOf[string](t, pool, "show application_name"), "orders")
		check.Equal(t, oneOf[string](t, pool, "show statement_timeout"), "7s")
	})
	t.Run("an error of WithAfterConnect reaches the caller and closes the connection", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		w := watch(t, uri)
		stop := errors.New("stop")
		pool := openPool(t, poolConfig(t, uri, pgsafe.WithAfterConnect(func(context.Context, *pgx.Conn) error {
			return stop
		})))
		check.Equal(t, errors.Is(pool.Ping(t.Context()), stop), true)
		pgtest.Eventually(t, "the server has no connection", func() bool { return w.backends() == 0 })
	})
	t.Run("a BeforeConnect that leaves pgsafe's out is refused with an error that says so", func(t *testing.T) {
		t.Parallel()
		config := poolConfig(t, pgtest.Shared(t).Database(t))
		config.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return nil }
		err := openPool(t, config).Ping(t.Context())
		if err == nil || !strings.Contains(err.Error(), "BeforeConnect was replaced") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a BeforeConnect that ends with pgsafe's works", func(t *testing.T) {
		t.Parallel()
		config := poolConfig(t, pgtest.Shared(t).Database(t))
		ours := config.BeforeConnect
		config.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
			cc.RuntimeParams["application_name"] = "orders"
			return ours(ctx, cc)
		}
		check.Equal(t, oneOf[string](t, openPool(t, config), "show application_name"), "orders")
	})
}

func TestAPoolConfigShowsNoSecret(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	t.Run("printing it shows no password, as with pgxpool's own", func(t *testing.T) {
		config := poolConfig(t, briefDSN(cluster.Port()))
		holdsNone(t, fmt.Sprintf("%v %+v %#v", config, config, config), briefPassword)
	})
	t.Run("a password of WithPassword is not in it, before and after connecting", func(t *testing.T) {
		uri := fmt.Sprintf("postgres://%s@localhost:%d/%s?sslmode=require", briefUser, cluster.Port(), briefDatabase)
		config := poolConfig(t, uri, pgsafe.WithPassword(func(context.Context) (string, error) {
			return briefPassword, nil
		}))
		pool := openPool(t, config)
		check.OK(t, pool.Ping(t.Context()))
		for _, c := range []*pgxpool.Config{config, pool.Config()} {
			cc := c.ConnConfig
			holdsNone(t, fmt.Sprintf("%+v %#v %+v %#v %s", c, c, cc, cc, c.ConnString()), briefPassword)
		}
	})
}

func TestAClosedPgxpoolLeavesNoGoroutine(t *testing.T) {
	uri := pgtest.SharedTLS(t).Database(t)
	w := watch(t, uri)
	before := goleak.IgnoreCurrent()
	config := poolConfig(t, uri, pgsafe.WithProfile(pgsafe.Profile{MaxConns: 4, MinIdleConns: 2}))
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	check.OK(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := pool.Exec(ctx, sleeps)
		done <- err
	}()
	pgtest.Eventually(t, "the statement runs", func() bool { return w.running() == 1 })
	cancel()
	check.Equal(t, pgsafe.SQLState(<-done), "57014")
	pool.Close()
	check.OK(t, goleak.Find(before))
}
