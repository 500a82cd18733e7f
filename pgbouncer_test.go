package pgsafe_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// withSmallPIDs makes connections on which the server seems to have a small process id. It counts
// them in changed.
func withSmallPIDs(dial pgconn.DialFunc, changed *atomic.Int32) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &smallPID{Conn: conn, changed: changed}, err
	}
}

// smallPID is a connection that replaces the process id in BackendKeyData by a small one.
type smallPID struct {
	net.Conn
	changed *atomic.Int32
	done    bool
}

func (c *smallPID) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	keyData := []byte{'K', 0, 0, 0, 12}
	if at := bytes.Index(b[:n], keyData); !c.done && at >= 0 && at+len(keyData)+4 <= n {
		binary.BigEndian.PutUint32(b[at+len(keyData):], 4711)
		c.done = true
		c.changed.Add(1)
	}
	return n, err
}

// pooled starts a pooler in transaction mode in front of the shared server. It returns the pooler
// and the name of a database.
func pooled(t *testing.T, settings map[string]string) (*pgserver.PgBouncer, string) {
	t.Helper()
	cluster := pgtest.Shared(t)
	u, err := url.Parse(cluster.Database(t))
	check.OK(t, err)
	return pgtest.PgBouncer(t, cluster, pgserver.PgBouncerOptions{Settings: settings}), strings.TrimPrefix(u.Path, "/")
}

// transfers runs statements of every kind on many connections at once, with values that differ.
func transfers(t *testing.T, db *sql.DB) {
	t.Helper()
	inParallel(t, 10, func(i int) error {
		for j := range 30 {
			if err := transfer(t.Context(), db, i*1000+j); err != nil {
				return err
			}
		}
		return nil
	})
}

// transfer never waits for a server connection while it holds one: the pooler has few.
func transfer(ctx context.Context, db *sql.DB, want int) error {
	stmt, err := db.PrepareContext(ctx, "select $1::int + 0")
	if err != nil {
		return err
	}
	defer stmt.Close()
	var plain, again, prepared, within int
	err = errors.Join(
		db.QueryRowContext(ctx, "select $1::int", want).Scan(&plain),
		db.QueryRowContext(ctx, "select $1::int, now()", want).Scan(&again, new(time.Time)),
		stmt.QueryRowContext(ctx, want).Scan(&prepared),
	)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	err = errors.Join(tx.QueryRowContext(ctx, "select $1::int", want).Scan(&within), tx.Commit())
	if err == nil && (plain != want || again != want || prepared != want || within != want) {
		err = fmt.Errorf("got %d, %d, %d and %d, want %d", plain, again, prepared, within, want)
	}
	return err
}

func TestPgBouncer(t *testing.T) {
	pooler, database := pooled(t, nil)
	t.Run("a pooler in transaction mode is recognised, and all statements work", func(t *testing.T) {
		transfers(t, open(t, pgsafe.DriverName, pooler.URI(database)))
	})
	t.Run("a pooler is recognised even if it invents a process id that a server could have", func(t *testing.T) {
		config, err := pgx.ParseConfig(pooler.URI(database))
		check.OK(t, err)
		var changed atomic.Int32
		config.DialFunc = withSmallPIDs(config.DialFunc, &changed)
		c, err := pgsafe.NewConnectorConfig(config)
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		transfers(t, db)
		if opened := statsOf(t, db).Opened; int64(changed.Load()) != opened {
			t.Errorf("%d of %d connections had a small process id", changed.Load(), opened)
		}
	})
	t.Run("pgx's own driver fails behind a pooler", func(t *testing.T) {
		db := open(t, "pgx", pooler.URI(database))
		var failed atomic.Bool
		inParallel(t, 10, func(i int) error {
			if transfer(t.Context(), db, i) != nil {
				failed.Store(true)
			}
			return nil
		})
		if !failed.Load() {
			t.Error("it does not: the first test shows nothing")
		}
	})
	t.Run("statements work through a pooler with pgsafe_conn=native", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, with(pooler.URI(database), "pgsafe_conn=native"))
		inParallel(t, 10, func(i int) error {
			for j := range 30 {
				var got int
				if err := db.QueryRowContext(t.Context(), "select $1::int", i+j).Scan(&got); err != nil || got != i+j {
					return fmt.Errorf("got %d: %w", got, err)
				}
			}
			return nil
		})
	})
	for _, mode := range []string{"cache_describe", "exec", "simple_protocol"} {
		t.Run("statements work through a pooler with default_query_exec_mode="+mode, func(t *testing.T) {
			transfers(t, open(t, pgsafe.DriverName, with(pooler.URI(database), "default_query_exec_mode="+mode)))
		})
	}
	t.Run("statements work through a pooler without the cache of descriptions", func(t *testing.T) {
		transfers(t, open(t, pgsafe.DriverName, with(pooler.URI(database), "description_cache_capacity=0")))
	})
	t.Run("a pooler in session mode keeps prepared statements if the string asks for it", func(t *testing.T) {
		pooler, database := pooled(t, map[string]string{"pool_mode": "session"})
		db := open(t, pgsafe.DriverName, with(pooler.URI(database), "default_query_exec_mode=cache_statement"))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		stmt, err := conn.PrepareContext(t.Context(), "select 1")
		check.OK(t, err)
		defer stmt.Close()
		var named int
		check.OK(t, conn.QueryRowContext(t.Context(), "select count(*)::int from pg_prepared_statements").Scan(&named))
		check.Equal(t, named, 2) // the count, and select 1
	})
	t.Run("the log names a pooler once", func(t *testing.T) {
		var log syncBuffer
		c, err := pgsafe.NewConnector(pooler.URI(database), pgsafe.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		holdAll(t, db, 3)()
		check.OK(t, db.Close())
		check.Equal(t, strings.Count(log.String(), "pooler"), 1)
	})
	t.Run("a prepared statement with a fault fails in Prepare behind a pooler", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, pooler.URI(database))
		_, err := db.PrepareContext(t.Context(), "select from nowhere at all")
		check.Equal(t, pgsafe.SQLState(err), "42601")
	})
	t.Run("a cancel through a pooler ends the right statement, and no later one", func(t *testing.T) {
		cancelsThrough(t, pooler.URI(database))
	})
	for name, parameter := range map[string]string{
		"statement_timeout": "statement_timeout=5s",
		"options":           "options=-csearch_path%3Dapp",
	} {
		t.Run("the error if a pooler refuses "+name+" is of kind config and has the remedies", func(t *testing.T) {
			err := open(t, pgsafe.DriverName, with(pooler.URI(database), parameter)).PingContext(t.Context())
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
			for _, want := range []string{name, "ignore_startup_parameters", "ALTER ROLE"} {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("the error does not name %s: %v", want, err)
				}
			}
			var pgErr *pgconn.PgError
			check.Equal(t, errors.As(err, &pgErr), true)
		})
	}
	t.Run("a pooler that ignores a setting accepts the connection", func(t *testing.T) {
		pooler, database := pooled(t, map[string]string{"ignore_startup_parameters": "statement_timeout"})
		db := open(t, pgsafe.DriverName, with(pooler.URI(database), "statement_timeout=5s"))
		check.OK(t, db.PingContext(t.Context()))
	})
}

// TestPgBouncerWithTLS goes through a pooler that asks for TLS and a password. So does its server.
func TestPgBouncerWithTLS(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	database := databaseName(t, cluster.Database(t))
	pooler := pgtest.PgBouncer(t, cluster, pgserver.PgBouncerOptions{
		Settings: map[string]string{"client_tls_sslmode": "require", "auth_type": "scram-sha-256"},
	})
	t.Run("a pooler with TLS is recognised, and all statements work", func(t *testing.T) {
		transfers(t, open(t, pgsafe.DriverName, pooler.URI(database)))
	})
	t.Run("a cancel through TLS ends the right statement, and no later one", func(t *testing.T) {
		cancelsThrough(t, pooler.URI(database))
	})
	t.Run("a wrong password for a pooler fails at once, and the error does not show it", func(t *testing.T) {
		uri := strings.Replace(pooler.URI(database), "@127.", "x@127.", 1)
		err := open(t, pgsafe.DriverName, uri).PingContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindAuth)
		noSecret(t, err, pgtest.TLSPassword+"x")
	})
	t.Run("the certificate of an unknown authority is refused", func(t *testing.T) {
		uri, _, _ := strings.Cut(pooler.URI(database), "?")
		uri += "?sslmode=verify-full&sslrootcert=" + pgtest.ClientCert(t).CAFile()
		err := open(t, pgsafe.DriverName, uri).PingContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
	})
	t.Run("a pooler that requires TLS refuses a connection without it", func(t *testing.T) {
		uri, _, _ := strings.Cut(pooler.URI(database), "?")
		err := open(t, pgsafe.DriverName, uri+"?sslmode=disable").PingContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
	})
}

// cancelsThrough cancels as many statements as PGSAFE_TEST_CANCELS gives, on six connections at
// once. The cancels come at all moments of a statement's life: in the pooler's queue, while it
// runs, and as it ends. A statement that is not cancelled follows each.
func cancelsThrough(t *testing.T, uri string) {
	t.Helper()
	db := open(t, pgsafe.DriverName, with(uri, "pool_max_conns=6"))
	want := int64(numberOfCancels(t, 200))
	var cancelled, undisturbed atomic.Int64
	inParallel(t, 6, func(int) error {
		for i := 0; cancelled.Load() < want; i++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*7_919%10_000)*time.Microsecond)
			_, err := db.ExecContext(ctx, "select pg_sleep($1)", 0.01)
			cancel()
			if err != nil {
				cancelled.Add(1)
			}
			var got int
			if err := db.QueryRowContext(t.Context(), "select $1::int", i).Scan(&got); err != nil || got != i {
				return fmt.Errorf("a statement that was not cancelled: got %d, %w", got, err)
			}
			undisturbed.Add(1)
		}
		return nil
	})
	t.Logf("%d statements cancelled, %d others undisturbed, %d connections opened",
		cancelled.Load(), undisturbed.Load(), statsOf(t, db).Opened)
}

// PgBouncer 1.18 crashes with "bad client state" if the client closes the connection of a cancel
// request before the request has ended (pgbouncer issue 801).
func TestPgBouncerThatIsSlowToCancel(t *testing.T) {
	cluster := pgtest.Shared(t)
	proxy := pgtest.NewProxy(t, cluster)
	pooler := pgtest.PgBouncer(t, cluster, pgserver.PgBouncerOptions{ServerPort: proxy.Port()})
	uri := cluster.Database(t)
	db := open(t, pgsafe.DriverName, with(pooler.URI(databaseName(t, uri)), "pgsafe_cancel_timeout=200ms"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, sleeps)
		done <- err
	}()
	w := watch(t, uri)
	pgtest.Eventually(t, "the statement runs", func() bool { return w.running() > 0 })
	proxy.Hang()
	cancel()
	check.Equal(t, pgsafe.KindOf(<-done), pgsafe.KindCanceled)
	proxy.Flow()
	pgtest.Eventually(t, "the server has received the request", func() bool { return w.running() == 0 })
	check.OK(t, db.PingContext(t.Context()))
}

// numberOfCancels returns the number in PGSAFE_TEST_CANCELS, or few without it.
func numberOfCancels(t *testing.T, few int) int {
	t.Helper()
	given := os.Getenv("PGSAFE_TEST_CANCELS")
	if given == "" {
		return few
	}
	n, err := strconv.Atoi(given)
	check.OK(t, err)
	return n
}

// TestPgBouncerThatCannotServe has a pooler without room, or without a server.
func TestPgBouncerThatCannotServe(t *testing.T) {
	t.Run("a dial to a full pooler is retried until it has room", func(t *testing.T) {
		t.Parallel()
		pooler, database := pooled(t, map[string]string{"max_client_conn": "1"})
		db := open(t, pgsafe.DriverName, pooler.URI(database))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		check.OK(t, conn.PingContext(t.Context()))
		refused := make(chan struct{})
		go func() {
			defer conn.Close()
			pgtest.Eventually(t, "another is refused", func() bool {
				return strings.Contains(pooler.Log(), "no more connections allowed")
			})
			check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error { return c.Close(t.Context()) }))
			close(refused)
		}()
		exec(t, db, "select 1")
		<-refused
	})
	t.Run("the error of a pooler that stays full has its message", func(t *testing.T) {
		t.Parallel()
		pooler, database := pooled(t, map[string]string{"max_client_conn": "1"})
		db := open(t, pgsafe.DriverName, pooler.URI(database))
		defer holdAll(t, db, 1)()
		err := open(t, pgsafe.DriverName, with(pooler.URI(database), "connect_timeout=1")).PingContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
		check.Equal(t, strings.Contains(fmt.Sprint(err), "no more connections allowed"), true)
	})
	t.Run("a statement cancelled in the pooler's queue costs the connection and never runs", func(t *testing.T) {
		t.Parallel()
		pooler, database := pooled(t, map[string]string{"default_pool_size": "1"})
		db := open(t, pgsafe.DriverName, with(pooler.URI(database), "pgsafe_cancel_timeout=100ms"))
		exec(t, db, "create table written (n int)")
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		_, err = tx.ExecContext(t.Context(), "select 1") // holds the only server connection
		check.OK(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = db.ExecContext(ctx, "insert into written values ($1)", 1)
		check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
		check.OK(t, tx.Commit())
		check.Equal(t, one[int](t, db, "select count(*)::int from written"), 0)
		// Closing takes a while.
		pgtest.Eventually(t, "the other connection is gone", func() bool { return statsOf(t, db).Total == 1 })
	})
	t.Run("statements work again after the server behind a pooler restarts", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.New(t, pgserver.Options{})
		pooler := pgtest.PgBouncer(t, cluster, pgserver.PgBouncerOptions{
			Settings: map[string]string{"server_login_retry": "1"},
		})
		for _, name := range []string{"pgx", pgsafe.DriverName} {
			db := open(t, name, with(pooler.URI(""), "default_query_exec_mode=exec"))
			l := startLoad(t, db)
			l.moves(t, 200)
			check.OK(t, cluster.Halt(pgserver.Fast))
			pgtest.Eventually(t, "the pooler finds it down", func() bool {
				log := pooler.Log()
				return strings.Contains(log, "server login failed") || strings.Contains(log, "connect failed")
			})
			check.OK(t, cluster.Restart(t.Context()))
			l.moves(t, 200)
			l.end()
			t.Logf("%s: %d good, %d failed %v", name, l.good.Load(), l.errors(), l.kinds)
		}
	})
}

func TestServersWithoutAPooler(t *testing.T) {
	t.Run("a server without a pooler keeps the cache of prepared statements", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error {
			check.Equal(t, c.Config().DefaultQueryExecMode, pgx.QueryExecModeCacheStatement)
			check.Equal(t, c.Config().Tracer == nil, false)
			return nil
		}))
	})
	t.Run("a server without a pooler is asked for its process id once", func(t *testing.T) {
		uri := pgtest.Shared(t).Database(t)
		c, _ := pgsafe.ConnectorOf(open(t, pgsafe.DriverName, uri))
		check.OK(t, c.WarmUp(t.Context(), 1))
		check.OK(t, c.WarmUp(t.Context(), 3)) // nothing else runs on these connections
		asked := one[int](t, open(t, "pgx", uri), "select count(*)::int from pg_stat_activity where "+
			"datname = current_database() and query = 'SELECT pg_backend_pid()'")
		check.Equal(t, asked, 1)
	})
	t.Run("a server may refuse to report its process id", func(t *testing.T) {
		uri := pgtest.Shared(t).Database(t)
		owner := open(t, "pgx", uri)
		exec(t, owner, "create role taciturn login")
		exec(t, owner, "revoke execute on function pg_backend_pid() from public")
		defer exec(t, owner, "drop role taciturn")
		u, err := url.Parse(uri)
		check.OK(t, err)
		u.User = url.User("taciturn")
		db := open(t, pgsafe.DriverName, u.String())
		defer db.Close()
		check.Equal(t, one[string](t, db, "select current_user::text"), "taciturn")
		check.Equal(t, one[int](t, db, "select count(*)::int from pg_prepared_statements"), 2)
	})
	t.Run("connections have no tracer without telemetry", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pgsafe_telemetry=off"))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error {
			check.Equal(t, c.Config().Tracer, nil)
			return nil
		}))
	})
}
