package pgsafe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// What an application sets on its *sql.DB keeps its meaning for the connections that the server sees. These tests
// take as long as the times they are about: a lease's age decides from 10 s on.
func TestSettingsOfTheDB(t *testing.T) {
	t.Run("SetConnMaxLifetime closes connections on the server", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "pool_max_conn_idle_time=1h"))
		db.SetConnMaxLifetime(10 * time.Second)
		first := one[int](t, db, "select pg_backend_pid()")
		w := watch(t, uri)
		pgtest.Eventually(t, "the connection is closed", func() bool { return w.backends() == 0 })
		check.Equal(t, db.Stats().MaxLifetimeClosed, 1)
		if one[int](t, db, "select pg_backend_pid()") == first {
			t.Error("the connection lived on")
		}
	})
	t.Run("SetConnMaxIdleTime closes connections on the server", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "pool_max_conn_idle_time=1h"))
		db.SetMaxIdleConns(5)
		db.SetConnMaxIdleTime(10 * time.Second)
		holdAll(t, db, 5)()
		w := watch(t, uri)
		check.Equal(t, w.backends(), 5)
		pgtest.Eventually(t, "the connections are closed", func() bool { return w.backends() == 0 })
		check.Equal(t, db.Stats().MaxIdleTimeClosed, 5)
	})
	t.Run("without a profile, connections that nobody uses are closed after 30 s", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		holdAll(t, db, 8)()
		w := watch(t, uri)
		check.Equal(t, w.backends(), 8)
		check.Equal(t, db.Stats().Idle, 2)
		pgtest.Eventually(t, "the connections are closed", func() bool { return w.backends() == 0 })
		check.Equal(t, statsOf(t, db).ClosedForIdle, 8)
	})
	t.Run("a lease given up for a waiter keeps its connection, however old", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		_, err = tx.ExecContext(t.Context(), "select pg_sleep(10.5)")
		check.OK(t, err)
		done := make(chan error)
		go func() { done <- db.PingContext(t.Context()) }()
		waiting(t, db, 1)
		check.OK(t, tx.Rollback())
		check.OK(t, <-done)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("SetMaxOpenConns bounds what the server sees", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		db.SetMaxOpenConns(3)
		think(t, db, 20, 20)
		check.Equal(t, statsOf(t, db).Opened, 3)
		check.Equal(t, watch(t, uri).backends(), 3)
	})
	t.Run("MaxConnLifetime closes connections that are never idle for long", func(t *testing.T) {
		t.Parallel()
		db, err := pgsafe.Open(pgtest.Shared(t).Database(t), pgsafe.WithProfile(pgsafe.Profile{
			MaxConns: 1, MaxConnLifetime: time.Second, MaxConnLifetimeJitter: time.Second, HealthCheckPeriod: time.Hour,
		}))
		check.OK(t, err)
		defer db.Close()
		first := one[int](t, db, "select pg_backend_pid()")
		pgtest.Eventually(t, "another connection serves", func() bool {
			return one[int](t, db, "select pg_backend_pid()") != first
		})
	})
	t.Run("SetConnMaxLifetime closes those that are kept as well", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_min_conns=1"))
		db.SetConnMaxLifetime(10 * time.Second)
		first := one[int](t, db, "select pg_backend_pid()")
		pgtest.Eventually(t, "it is closed for its age", func() bool { return db.Stats().MaxLifetimeClosed == 1 })
		w := watch(t, databaseURI(t, db))
		pgtest.Eventually(t, "its backend is gone", func() bool {
			var n int
			check.OK(t, w.conn.QueryRow(t.Context(), "select count(*) from pg_stat_activity where pid = $1", first).Scan(&n))
			return n == 0
		})
	})
	t.Run("MaxConnLifetime closes a parked connection before its next use", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conn_lifetime=1s"))
		first := one[int](t, db, "select pg_backend_pid()")
		born := time.Now()
		pgtest.Eventually(t, "it has reached its age", func() bool { return time.Since(born) > 1100*time.Millisecond })
		if one[int](t, db, "select pg_backend_pid()") == first {
			t.Error("it was used again")
		}
	})
	t.Run("a connection that the application calls bad is closed", func(t *testing.T) {
		t.Parallel()
		for name, discard := range map[string]func(*pgx.Conn) error{
			"by driver.ErrBadConn": func(*pgx.Conn) error { return driver.ErrBadConn },
			"by a panic":           func(*pgx.Conn) error { panic("on purpose") },
		} {
			db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
			conn, err := db.Conn(t.Context())
			check.OK(t, err)
			_, err = conn.ExecContext(t.Context(), "select pg_advisory_lock(1)")
			check.OK(t, err)
			func() {
				defer func() { _ = recover() }()
				_ = pgsafe.Raw(conn, discard)
			}()
			check.Equal(t, one[int](t, db, "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"), 0)
			if statsOf(t, db).Opened != 2 {
				t.Error("the connection was used again after it was discarded " + name)
			}
		}
	})
	t.Run("a ping that fails closes its own connection and no other", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		check.OK(t, conn.PingContext(t.Context()))
		exec(t, db, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
		check.Equal(t, pgsafe.KindOf(conn.PingContext(t.Context())), pgsafe.KindUnavailable)
		for range 5 {
			check.OK(t, db.PingContext(t.Context()))
		}
		check.Equal(t, statsOf(t, db).InUse, 0)
	})
	t.Run("connections that all died reach nobody", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, proxy.URI("postgres"))
		holdAll(t, db, 10)()
		proxy.Cut()
		for range 4 {
			exec(t, db, "select 1")
		}
	})
	t.Run("a connection that comes back in a transaction is closed", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		exec(t, db, "begin")
		exec(t, db, "select 1")
		check.Equal(t, statsOf(t, db).Opened, 2)
	})
}

func TestClose(t *testing.T) {
	t.Run("db.Close closes all that is idle, parked or not", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db, err := sql.Open(pgsafe.DriverName, uri)
		check.OK(t, err)
		holdAll(t, db, 8)()
		check.OK(t, db.Close())
		w := watch(t, uri)
		pgtest.Eventually(t, "no connection is left", func() bool { return w.backends() == 0 })
		check.OK(t, db.Close())
	})
	t.Run("db.Close returns at once with leases out, and those close on return", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db, err := sql.Open(pgsafe.DriverName, uri)
		check.OK(t, err)
		release := holdAll(t, db, 3)
		check.OK(t, db.Close())
		w := watch(t, uri)
		check.Equal(t, w.backends(), 3)
		release()
		pgtest.Eventually(t, "no connection is left", func() bool { return w.backends() == 0 })
	})
	t.Run("a lease out at Close goes on working", func(t *testing.T) {
		t.Parallel()
		db, err := sql.Open(pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=2"))
		check.OK(t, err)
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		check.OK(t, conn.PingContext(t.Context()))
		check.OK(t, db.Close())
		check.OK(t, conn.PingContext(t.Context()))
		check.OK(t, conn.Close())
		lease, err := (&pgsafe.Driver{}).Open(pgtest.Shared(t).Database(t))
		check.OK(t, err)
		check.OK(t, lease.Close())
		check.Equal(t, errors.Is(lease.(driver.Pinger).Ping(t.Context()), pgsafe.ErrClosed), true)
	})
	t.Run("a connector closed twice, and one never used, close without error", func(t *testing.T) {
		t.Parallel()
		c, err := pgsafe.NewConnector("")
		check.OK(t, err)
		check.OK(t, c.Close())
		check.OK(t, c.Close())
		_, err = c.Connect(t.Context())
		check.Equal(t, errors.Is(err, pgsafe.ErrClosed), true)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})
	t.Run("Close ends a warm-up that is under way", func(t *testing.T) {
		t.Parallel()
		host, port := pgtest.SilentListener(t)
		c, err := pgsafe.NewConnectorConfig(silent(t, host, port), pgsafe.WithProfile(pgsafe.Profile{WarmUp: 3}))
		check.OK(t, err)
		connected := make(chan error, 1)
		go func() { _, err := c.Connect(t.Context()); connected <- err }()
		pgtest.Eventually(t, "connections are being opened", func() bool { return c.Stats().Connecting == 3 })
		check.OK(t, c.Close())
		check.Equal(t, errors.Is(<-connected, pgsafe.ErrClosed), true)
	})
}

// databaseURI is the URI that reaches the database of db.
func databaseURI(t testing.TB, db *sql.DB) string {
	t.Helper()
	return pgtest.Shared(t).URI(one[string](t, db, "select current_database()"))
}

func silent(t testing.TB, host string, port int) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig("user=u dbname=d sslmode=disable connect_timeout=1")
	check.OK(t, err)
	config.Host, config.Port = host, uint16(port)
	return config
}

func TestHooks(t *testing.T) {
	config := func(t *testing.T) *pgx.ConnConfig {
		config, err := pgx.ParseConfig(pgtest.Shared(t).Database(t))
		check.OK(t, err)
		return config
	}
	t.Run("BeforeConnect may change the configuration of each connection", func(t *testing.T) {
		t.Parallel()
		c, err := pgsafe.NewConnectorConfig(config(t), pgsafe.WithBeforeConnect(func(_ context.Context, cc *pgx.ConnConfig) error {
			cc.RuntimeParams["application_name"] = "set by the hook"
			return nil
		}))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		check.Equal(t, one[string](t, db, "show application_name"), "set by the hook")
	})
	t.Run("AfterConnect prepares each connection", func(t *testing.T) {
		t.Parallel()
		c, err := pgsafe.NewConnectorConfig(config(t), pgsafe.WithAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "set statement_timeout = '7s'")
			return err
		}))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		check.Equal(t, one[string](t, db, "show statement_timeout"), "7s")
	})
	t.Run("an error of a hook reaches the caller and leaves no connection", func(t *testing.T) {
		t.Parallel()
		stop := errors.New("stop")
		for _, opt := range []pgsafe.Option{
			pgsafe.WithBeforeConnect(func(context.Context, *pgx.ConnConfig) error { return stop }),
			pgsafe.WithAfterConnect(func(context.Context, *pgx.Conn) error { return stop }),
		} {
			c, err := pgsafe.NewConnectorConfig(config(t), opt)
			check.OK(t, err)
			db := sql.OpenDB(c)
			got := db.PingContext(t.Context())
			check.Equal(t, errors.Is(got, stop), true)
			check.Equal(t, got.Error(), "stop")
			check.OK(t, db.Close())
		}
	})
	t.Run("an application's own tracer stays", func(t *testing.T) {
		t.Parallel()
		cc := config(t)
		tracer := &countingTracer{}
		cc.Tracer = tracer
		c, err := pgsafe.NewConnectorConfig(cc)
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		exec(t, db, "select 1")
		check.Equal(t, tracer.queries, 1)
	})
	t.Run("a tracer that WithBeforeConnect sets is the connection's, as with pgx", func(t *testing.T) {
		t.Parallel()
		tracer := &countingTracer{}
		c, err := pgsafe.NewConnectorConfig(config(t), pgsafe.WithBeforeConnect(func(_ context.Context, cc *pgx.ConnConfig) error {
			cc.Tracer = tracer
			return nil
		}))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		exec(t, db, "select 1")
		check.Equal(t, tracer.queries, 1)
	})
	t.Run("the configuration is copied", func(t *testing.T) {
		t.Parallel()
		cc := config(t)
		c, err := pgsafe.NewConnectorConfig(cc)
		check.OK(t, err)
		cc.Host = "elsewhere.invalid"
		db := sql.OpenDB(c)
		defer db.Close()
		check.OK(t, db.PingContext(t.Context()))
	})
	t.Run("a TLS configuration of the application's own is used", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.SharedTLS(t)
		config, err := pgx.ParseConfig(fmt.Sprintf("host=localhost port=%d user=%s dbname=%s sslmode=require",
			cluster.Port(), briefUser, briefDatabase))
		check.OK(t, err)
		config.Password = briefPassword
		ca, err := os.ReadFile(cluster.CAFile())
		check.OK(t, err)
		asked := false
		config.TLSConfig = &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool(),
			VerifyConnection: func(tls.ConnectionState) error { asked = true; return nil }}
		config.TLSConfig.RootCAs.AppendCertsFromPEM(ca)
		c, err := pgsafe.NewConnectorConfig(config)
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		check.OK(t, db.PingContext(t.Context()))
		check.Equal(t, asked, true)
	})
	t.Run("a profile that contradicts itself is refused", func(t *testing.T) {
		t.Parallel()
		for _, p := range []pgsafe.Profile{
			{MaxConns: -1}, {MinIdleConns: -1}, {WarmUp: -1}, {MaxConns: 2, MinIdleConns: 3}, {MaxConns: 2, WarmUp: 3},
			{MaxConnLifetime: -1}, {AcquireTimeout: -1},
		} {
			_, err := pgsafe.NewConnectorConfig(config(t), pgsafe.WithProfile(p))
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
		}
	})
}

// countingTracer is not safe for concurrent use: its tests run one statement after another.
type countingTracer struct{ queries int }

func (c *countingTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.queries++
	return ctx
}

func (c *countingTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
