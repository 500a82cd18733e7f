package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// closing is a database that is about to be closed.
type closing struct {
	*testing.T
	*sql.DB
	proxy   *pgtest.Proxy
	watcher *watcher
	callers sync.WaitGroup
}

// call runs f in a goroutine that may outlive Close.
func (c *closing) call(f func() error, want error) {
	c.callers.Go(func() {
		if err := f(); !errors.Is(err, want) {
			c.Errorf("want the error %v, got %v", want, err)
		}
	})
}

// ping is a caller that waits for a connection.
func (c *closing) ping() {
	c.call(func() error { return c.PingContext(context.Background()) }, pgsafe.ErrClosed)
}

// closings are states of a database.
var closings = []struct {
	name   string
	params []string
	silent bool // the server takes connections and says nothing
	use    func(*closing)
}{
	{name: "that was in use", use: func(c *closing) { think(c.T, c.DB, 8, 5) }},
	{name: "that was not used", use: func(*closing) {}},
	{name: "with a profile that is being warmed up", params: []string{"pool_profile=production"},
		use: func(c *closing) { exec(c.T, c.DB, "select 1") }},
	{name: "with a profile whose server is silent", silent: true,
		params: []string{"pool_profile=production", "pool_acquire_timeout=0"},
		use: func(c *closing) {
			c.ping()
			waiting(c.T, c.DB, 1)
		}},
	{name: "with a warm-up under way", silent: true, use: func(c *closing) {
		connector, _ := pgsafe.ConnectorOf(c.DB)
		c.call(func() error { return connector.WarmUp(context.Background(), 3) }, pgsafe.ErrClosed)
		pgtest.Eventually(c.T, "dials are under way", func() bool { return statsOf(c.T, c.DB).Connecting == 3 })
	}},
	{name: "with callers that wait for dials", silent: true, use: func(c *closing) {
		for range 3 {
			c.ping()
		}
		waiting(c.T, c.DB, 3)
	}},
	{name: "with callers that have given dials up", silent: true, use: func(c *closing) { giveUp(c.T, c.DB, 3, 2) }},
	{name: "with cancel requests under way", use: func(c *closing) {
		ctx, cancel := context.WithCancel(context.Background())
		for range 3 {
			c.call(func() error { _, err := c.ExecContext(ctx, sleeps); return err }, context.Canceled)
		}
		pgtest.Eventually(c.T, "the statements run", func() bool { return c.watcher.running() == 3 })
		c.proxy.Hang()
		cancel()
	}},
	{name: "with a reset under way", use: func(c *closing) {
		conn, err := c.Conn(c.Context())
		check.OK(c.T, err)
		_, err = conn.ExecContext(c.Context(), "set app.tenant = 'x'")
		check.OK(c.T, err)
		c.proxy.Hang()
		check.OK(c.T, conn.Close())
		check.Equal(c.T, statsOf(c.T, c.DB).InUse, 1)
	}},
	{name: "with forgotten rows", use: func(c *closing) {
		for range 3 {
			_, err := c.QueryContext(c.Context(), "select generate_series(1, 100000)")
			check.OK(c.T, err)
		}
	}},
	{name: "with a forgotten transaction, sql.Conn and statement", use: func(c *closing) {
		_, err := c.BeginTx(c.Context(), nil)
		check.OK(c.T, err)
		conn, err := c.Conn(c.Context())
		check.OK(c.T, err)
		_, err = conn.PrepareContext(c.Context(), "select 1")
		check.OK(c.T, err)
	}},
	{name: "with native code that listens", use: func(c *closing) {
		conn, err := c.Conn(c.Context())
		check.OK(c.T, err)
		listens := make(chan struct{})
		c.callers.Go(func() {
			err := pgsafe.Raw(conn, func(native *pgx.Conn) error {
				_, err := native.Exec(context.Background(), "listen news")
				close(listens)
				if err == nil {
					_, err = native.WaitForNotification(context.Background())
				}
				return err
			})
			if err == nil {
				c.Error("a notification has come")
			}
			_ = conn.Close() // the DB is closed
		})
		<-listens
	}},
	{name: "of native connections", params: []string{"pgsafe_conn=native"},
		use: func(c *closing) { think(c.T, c.DB, 8, 5) }},
	{name: "of native connections whose dials were given up", params: []string{"pgsafe_conn=native"}, silent: true,
		use: func(c *closing) { giveUp(c.T, c.DB, 3, 2) }},
}

// TestClosedDB does not run beside other tests, whose goroutines would count. What is forgotten is cut off after five
// seconds.
func TestClosedDB(t *testing.T) {
	cluster := pgtest.Shared(t)
	for _, state := range closings {
		t.Run("a closed DB "+state.name+" leaves no goroutine and no connection", func(t *testing.T) {
			proxy := pgtest.NewProxy(t, cluster)
			uri := cluster.Database(t)
			dsn := proxy.URI(databaseOf(t, uri))
			if state.silent {
				host, port := pgtest.SilentListener(t)
				dsn = fmt.Sprintf("postgres://u@%s:%d/d?sslmode=disable&connect_timeout=60", host, port)
			}
			w := watch(t, uri)
			current := goleak.IgnoreCurrent()
			db, err := sql.Open(pgsafe.DriverName, with(dsn, state.params...))
			check.OK(t, err)
			c := &closing{T: t, DB: db, proxy: proxy, watcher: w}
			state.use(c)
			check.OK(t, db.Close())
			proxy.Flow()
			c.callers.Wait()
			pgtest.Eventually(t, "no connection is left", func() bool { return w.backends() == 0 })
			pgtest.Eventually(t, "no goroutine is left", func() bool { return leaked(current) == nil })
		})
	}
}

// leaked finds goroutines that are not the tests' own. database/sql waits in some for the end of what was forgotten.
func leaked(current goleak.Option) error {
	return goleak.Find(current,
		goleak.IgnoreAnyFunction("database/sql.(*Tx).awaitDone"),
		goleak.IgnoreAnyFunction("database/sql.(*Rows).awaitDone"),
		goleak.IgnoreAnyFunction("github.com/pgsafe/pgsafe/internal/pgtest.SilentListener.func1"))
}

// Both drivers keep the context of the last statement of each protocol, in pgconn's readers of results
// (PgConn.multiResultReader and PgConn.resultReader).
func TestMemoryOfCallers(t *testing.T) {
	type request [1 << 10]byte
	type key struct{}
	uses := map[string]func(context.Context, *sql.DB) error{
		"a statement": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, "select 1")
			return err
		},
		"a query": func(ctx context.Context, db *sql.DB) error {
			return db.QueryRowContext(ctx, "select $1::int", 1).Scan(new(int))
		},
		"a prepared statement": func(ctx context.Context, db *sql.DB) error {
			stmt, err := db.PrepareContext(ctx, "select $1::int8")
			return errors.Join(err, stmt.QueryRowContext(ctx, 1).Scan(new(int)), stmt.Close())
		},
		"a statement with settings": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(tenant(ctx, "x"), "select 1")
			return err
		},
		"a statement with session state": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, "set app.tenant = 'x'")
			return err
		},
		"a transaction": func(ctx context.Context, db *sql.DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, "select 1")
			return errors.Join(err, tx.Commit())
		},
		"a sql.Conn": func(ctx context.Context, db *sql.DB) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			return errors.Join(conn.PingContext(ctx), conn.Close())
		},
		"a cancelled statement": func(ctx context.Context, db *sql.DB) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			if _, err := db.ExecContext(ctx, "select pg_sleep(60)"); !errors.Is(err, ctx.Err()) {
				return err
			}
			return nil
		},
	}
	for name, use := range uses {
		t.Run("a connection does not keep the request whose context "+name+" had", func(t *testing.T) {
			db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
			serve := func() weak.Pointer[request] {
				body := new(request)
				check.OK(t, use(context.WithValue(context.Background(), key{}, body), db))
				return weak.Make(body)
			}
			held := serve()
			check.Equal(t, intOf(t, db, "select 1"), 1)
			exec(t, db, "select 1")
			exec(t, db, "select $1::int", 1)
			pgtest.Eventually(t, "the request is gone", func() bool {
				runtime.GC()
				return held.Value() == nil
			})
			check.Equal(t, statsOf(t, db).Opened, 1)
		})
	}
	for name, dsn := range map[string]string{
		"that was in use": "", "with forgotten rows": "rows", "of native connections": "pgsafe_conn=native",
	} {
		t.Run("a closed DB "+name+" leaves no connector in memory", func(t *testing.T) {
			serve := func() weak.Pointer[pgsafe.Connector] {
				uri := pgtest.Shared(t).Database(t)
				if dsn != "" && dsn != "rows" {
					uri = with(uri, dsn)
				}
				db, err := sql.Open(pgsafe.DriverName, uri)
				check.OK(t, err)
				rows, err := db.QueryContext(context.Background(), "select 1")
				check.OK(t, err)
				if dsn != "rows" {
					check.OK(t, rows.Close())
				}
				c, _ := pgsafe.ConnectorOf(db)
				check.OK(t, db.Close())
				return weak.Make(c)
			}
			held := serve()
			pgtest.Eventually(t, "the connector is gone", func() bool {
				runtime.GC()
				return held.Value() == nil
			})
		})
	}
}
