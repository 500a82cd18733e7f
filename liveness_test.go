package pgsafe_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestADeadConnectionIsNotHandedOut(t *testing.T) {
	cluster := pgtest.Shared(t)

	t.Run("a statement does not get a dead connection after its handle was idle in database/sql", func(t *testing.T) {
		t.Parallel()
		uri := cluster.Database(t)
		db := open(t, pgsafe.DriverName, uri)
		db.SetMaxIdleConns(5)
		holdAll(t, db, 5)()
		endAll(t, cluster, databaseOf(t, uri))
		gone(t, cluster, databaseOf(t, uri))
		inParallel(t, 5, func(int) error {
			_, err := db.ExecContext(t.Context(), "select 1") // the simple protocol, which the driver cannot repeat
			return err
		})
	})

	t.Run("a statement does not get a dead connection from the idle list", func(t *testing.T) {
		t.Parallel()
		uri := cluster.Database(t)
		db := open(t, pgsafe.DriverName, uri)
		db.SetMaxIdleConns(-1)
		holdAll(t, db, 5)()
		endAll(t, cluster, databaseOf(t, uri))
		gone(t, cluster, databaseOf(t, uri))
		exec(t, db, "select 1")
	})

	t.Run("a statement does not get a dead connection with pgsafe_conn=native", func(t *testing.T) {
		t.Parallel()
		uri := cluster.Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "pgsafe_conn=native"))
		holdAll(t, db, 2)()
		endAll(t, cluster, databaseOf(t, uri))
		gone(t, cluster, databaseOf(t, uri))
		exec(t, db, "select 1")
	})

	t.Run("an acquire costs no round trip", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, with(proxy.URI(databaseOf(t, cluster.Database(t))), "pool_ping_after=1h"))
		exec(t, db, "select 1")
		proxy.Reset()
		for range 10 {
			exec(t, db, "select 1")
		}
		check.Equal(t, proxy.RoundTrips(), 10)
	})

	t.Run("an acquire pings a connection that was idle for pool_ping_after", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, with(proxy.URI(databaseOf(t, cluster.Database(t))), "pool_ping_after=1ns"))
		exec(t, db, "select 1")
		proxy.Reset()
		exec(t, db, "select 1")
		check.Equal(t, proxy.RoundTrips(), 2)
	})

	t.Run("an acquire pings a connection on which the server has sent something", func(t *testing.T) {
		t.Parallel()
		uri := cluster.Database(t)
		proxy := pgtest.NewProxy(t, cluster)
		db := open(t, pgsafe.DriverName, with(proxy.URI(databaseOf(t, uri)), "pool_ping_after=1h"))
		exec(t, db, "create function listens() returns void language plpgsql as 'begin listen c; end'")
		exec(t, db, "select listens()") // the driver sees no effects in this text, so no reset follows
		admin := cluster.AdminIn(t, databaseOf(t, uri))
		pgtest.Eventually(t, "a notification is noticed before the next statement", func() bool {
			_, err := admin.Exec(t.Context(), "notify c")
			check.OK(t, err)
			before := proxy.RoundTrips()
			exec(t, db, "select 1")
			return proxy.RoundTrips() == before+2
		})
	})
}

// gone waits until the server has no session in the database any more.
func gone(t *testing.T, cluster *pgtest.Cluster, database string) {
	t.Helper()
	pgtest.Eventually(t, "the sessions are gone", func() bool { return cluster.Activity(t, database) == 0 })
}

func TestRepeatedStatements(t *testing.T) {
	cluster := pgtest.Shared(t)

	t.Run("the error of a statement that cannot be repeated has its cause", func(t *testing.T) {
		t.Parallel()
		uri := cluster.Database(t)
		db := open(t, pgsafe.DriverName, uri)
		conn, err := db.Conn(t.Context()) // database/sql repeats nothing on a *sql.Conn
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, conn.PingContext(t.Context()))
		endAll(t, cluster, databaseOf(t, uri))
		gone(t, cluster, databaseOf(t, uri))
		_, err = conn.ExecContext(t.Context(), "select $1::int", 1)
		check.Equal(t, err == driver.ErrBadConn, false)
		check.Equal(t, errors.Is(err, driver.ErrBadConn), true)
		check.Equal(t, pgsafe.SQLState(err), "57P01")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})

	t.Run("a statement within a transaction is not repeated", func(t *testing.T) {
		t.Parallel()
		uri := cluster.Database(t)
		db := open(t, pgsafe.DriverName, uri)
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		_, err = tx.ExecContext(t.Context(), "select $1::int", 1)
		check.OK(t, err)
		endAll(t, cluster, databaseOf(t, uri))
		gone(t, cluster, databaseOf(t, uri))
		for range 2 { // the second finds the connection closed
			_, err = tx.ExecContext(t.Context(), "select $1::int", 1)
			check.Equal(t, errors.Is(err, driver.ErrBadConn), false)
			check.Equal(t, pgsafe.SQLState(err), "57P01")
		}
		if tx.Commit() == nil {
			t.Error("it was committed")
		}
	})

	t.Run("a statement of the simple protocol is not repeated", func(t *testing.T) {
		t.Parallel()
		uri := cluster.Database(t)
		db := open(t, pgsafe.DriverName, uri)
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, conn.PingContext(t.Context()))
		endAll(t, cluster, databaseOf(t, uri))
		gone(t, cluster, databaseOf(t, uri))
		_, err = conn.ExecContext(t.Context(), "select 1")
		check.Equal(t, errors.Is(err, driver.ErrBadConn), false)
		check.Equal(t, pgsafe.SQLState(err), "57P01")
	})

	t.Run("a statement that was sent and has no answer is not repeated", func(t *testing.T) {
		t.Parallel()
		uri := cluster.Database(t)
		admin := open(t, pgsafe.DriverName, uri)
		exec(t, admin, "create table done (n int)")
		sleeping := func() int {
			return one[int](t, admin, "select count(*)::int from pg_stat_activity "+
				"where wait_event = 'PgSleep' and datname = current_database()")
		}
		proxy := pgtest.NewProxy(t, cluster)
		for _, protocol := range []struct {
			statement string
			args      []any
		}{
			// pgx's error calls this one safe to retry.
			{"begin; insert into done values (1); commit; select pg_sleep(2)", nil},
			{"with one as (insert into done values ($1) returning n) select pg_sleep(2) from one", []any{1}},
		} {
			db := open(t, pgsafe.DriverName, proxy.URI(databaseOf(t, uri)))
			exec(t, db, "select 1")
			failed := make(chan error, 1)
			go func() {
				_, err := db.ExecContext(t.Context(), protocol.statement, protocol.args...)
				failed <- err
			}()
			pgtest.Eventually(t, "it runs", func() bool { return sleeping() == 1 })
			proxy.Cut()
			err := <-failed
			check.Equal(t, err != nil && !errors.Is(err, driver.ErrBadConn), true)
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
			pgtest.Eventually(t, "the server has ended it", func() bool { return sleeping() == 0 })
		}
		check.Equal(t, one[int](t, admin, "select count(*)::int from done") <= 2, true)
	})

	t.Run("a BEGIN is repeated", func(t *testing.T) {
		t.Parallel()
		uri := cluster.Database(t)
		db := open(t, pgsafe.DriverName, uri)
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, conn.PingContext(t.Context()))
		endAll(t, cluster, databaseOf(t, uri))
		gone(t, cluster, databaseOf(t, uri))
		_, err = conn.BeginTx(t.Context(), nil)
		check.Equal(t, errors.Is(err, driver.ErrBadConn), true)
		check.Equal(t, pgsafe.SQLState(err), "57P01")
	})
}

func TestDialRetries(t *testing.T) {
	t.Run("a dial to a full server is retried until a connection is free", func(t *testing.T) {
		t.Parallel()
		cluster := smallServer(t)
		release := fillServer(t, cluster)
		_, err := open(t, "pgx", cluster.URI("postgres")).ExecContext(t.Context(), "select 1")
		check.Equal(t, pgsafe.SQLState(err), "53300") // pgx does not wait
		db := open(t, pgsafe.DriverName, cluster.URI("postgres"))
		done := make(chan error, 1)
		go func() {
			_, err := db.ExecContext(t.Context(), "select 1")
			done <- err
		}()
		pgtest.Eventually(t, "it was refused", func() bool { return statsOf(t, db).Opened >= 2 })
		release()
		check.OK(t, <-done)
	})

	t.Run("the error of a server that stays full names the reason", func(t *testing.T) {
		t.Parallel()
		cluster := smallServer(t)
		defer fillServer(t, cluster)()
		db := open(t, pgsafe.DriverName, with(cluster.URI("postgres"), "connect_timeout=2"))
		_, err := db.ExecContext(t.Context(), "select 1")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
		check.Equal(t, pgsafe.SQLState(err), "53300")
		check.Equal(t, strings.Contains(err.Error(), "too many clients"), true)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = db.ExecContext(ctx, "select 1")
		check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
	})

	t.Run("a dial to a server that was up before is retried", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.New(t, pgserver.Options{})
		db := open(t, pgsafe.DriverName, cluster.URI("postgres"))
		exec(t, db, "select 1")
		check.OK(t, cluster.Halt(pgserver.Fast))
		done := make(chan error, 1)
		before := statsOf(t, db).Opened
		go func() {
			_, err := db.ExecContext(t.Context(), "select 1")
			done <- err
		}()
		pgtest.Eventually(t, "it was refused", func() bool { return statsOf(t, db).Opened >= before+2 })
		check.OK(t, cluster.Restart(t.Context()))
		check.OK(t, <-done)
	})

	t.Run("a dial that names a missing database is not retried", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		db := open(t, pgsafe.DriverName, cluster.URI("there_is_no_such_database"))
		_, err := db.ExecContext(t.Context(), "select 1")
		check.Equal(t, pgsafe.SQLState(err), "3D000")
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
}

// smallServer starts a server that allows eight connections.
func smallServer(t *testing.T) *pgtest.Cluster {
	t.Helper()
	return pgtest.New(t, pgserver.Options{Settings: map[string]string{
		"max_connections": "8", "superuser_reserved_connections": "0",
	}})
}

// fillServer opens all connections that the server allows.
func fillServer(t *testing.T, cluster *pgtest.Cluster) (release func()) {
	t.Helper()
	db := open(t, "pgx", cluster.URI("postgres"))
	db.SetMaxIdleConns(-1)
	var conns []interface{ Close() error }
	for {
		conn, err := db.Conn(t.Context())
		if err != nil {
			check.Equal(t, pgsafe.SQLState(err), "53300")
			break
		}
		conns = append(conns, conn)
	}
	return func() {
		for _, conn := range conns {
			check.OK(t, conn.Close())
		}
	}
}
