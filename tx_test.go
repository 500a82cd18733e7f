package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestCancelledTransactions(t *testing.T) {
	t.Run("50 transactions cancelled while idle open no new connections", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		opened := map[string]int64{}
		for _, driverName := range []string{"pgx", pgsafe.DriverName} {
			before := pgtest.Shared(t).Sessions(t, databaseOf(t, uri))
			db := open(t, driverName, uri)
			for range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				tx, err := db.BeginTx(ctx, nil)
				check.OK(t, err)
				_, err = tx.ExecContext(ctx, "select 1")
				check.OK(t, err)
				cancel()
				// database/sql rolls back in the background.
				pgtest.Eventually(t, "the handle is released", func() bool { return db.Stats().InUse == 0 })
			}
			exec(t, db, "select 1")
			opened[driverName] = pgtest.Shared(t).Sessions(t, databaseOf(t, uri)) - before
		}
		t.Logf("connections opened: %v", opened)
		if opened[pgsafe.DriverName] > 2 {
			t.Errorf("%d connections were opened", opened[pgsafe.DriverName])
		}
	})
	t.Run("a transaction on the server ends with its context", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		exec(t, db, "create table kept (n int)")
		ctx, cancel := context.WithCancel(t.Context())
		tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		check.OK(t, err)
		_, err = tx.ExecContext(ctx, "insert into kept values (1)")
		check.OK(t, err)
		cancel()
		w := watch(t, uri)
		pgtest.Eventually(t, "no transaction is open", func() bool { return w.inTransaction() == 0 })
		check.Equal(t, errors.Is(tx.Commit(), context.Canceled) || errors.Is(tx.Commit(), sql.ErrTxDone), true)
		check.Equal(t, one[int](t, db, "select count(*) from kept"), 0)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a COMMIT is not cancelled and has the cancel timeout to end", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, with(proxy.URI(databaseOf(t, uri)), "pgsafe_cancel_timeout=1h"))
		slowCommits(t, db, "0.3")
		ctx := whenItRuns(t, watch(t, uri), context.Canceled)
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		_, err = tx.ExecContext(ctx, "insert into slow values (1)")
		check.OK(t, err)
		check.OK(t, tx.Commit())
		<-ctx.Done()
		check.Equal(t, one[int](t, db, "select count(*) from slow"), 1)
		check.Equal(t, proxy.Cancels(), 0)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a COMMIT that does not end within the cancel timeout costs the connection", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "pgsafe_cancel_timeout=20ms"))
		slowCommits(t, db, "60")
		ctx := whenItRuns(t, watch(t, uri), context.Canceled)
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		_, err = tx.ExecContext(ctx, "insert into slow values (1)")
		check.OK(t, err)
		err = tx.Commit()
		check.Equal(t, errors.Is(err, context.Canceled), true)
		check.Equal(t, one[int](t, db, "select count(*) from slow"), 0)
		check.Equal(t, statsOf(t, db).Opened, 2)
	})
	t.Run("a COMMIT that the server turns into a ROLLBACK is an error", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		if _, err := tx.ExecContext(t.Context(), "select 1/0"); err == nil {
			t.Fatal("the server can divide by zero")
		}
		check.Equal(t, errors.Is(tx.Commit(), pgx.ErrTxCommitRollback), true)
		exec(t, db, "select 1")
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a ROLLBACK without an answer closes the connection", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, with(proxy.URI("postgres"), "pgsafe_cancel_timeout=20ms"))
		ctx, cancel := context.WithCancel(t.Context())
		_, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		proxy.Hang()
		cancel()
		pgtest.Eventually(t, "the handle is released", func() bool { return db.Stats().InUse == 0 })
		proxy.Flow()
		exec(t, db, "select 1")
		check.Equal(t, statsOf(t, db).Opened, 2)
	})
	t.Run("a BEGIN whose context is done is not sent", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = conn.BeginTx(done, nil)
		check.Equal(t, errors.Is(err, context.Canceled), true)
		_, err = conn.ExecContext(t.Context(), "select 1")
		check.OK(t, err)
		check.OK(t, conn.Close())
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
}

// slowCommits creates the table slow. A COMMIT of an insert into it takes that many seconds.
func slowCommits(t *testing.T, db *sql.DB, seconds string) {
	t.Helper()
	exec(t, db, `create table slow (n int);
		create function wait() returns trigger language plpgsql
			as 'begin perform pg_sleep(`+seconds+`); return null; end';
		create constraint trigger late after insert on slow deferrable initially deferred
			for each row execute function wait()`)
}

// inTransaction counts the open transactions of other sessions.
func (w *watcher) inTransaction() int {
	var n int
	row := w.conn.QueryRow(w.t.Context(), `select count(*) from pg_stat_activity
		where datname = current_database() and state like 'idle in transaction%'`)
	check.OK(w.t, row.Scan(&n))
	return n
}

// databaseOf returns the name of the database in uri.
func databaseOf(t *testing.T, uri string) string {
	t.Helper()
	config, err := pgx.ParseConfig(uri)
	check.OK(t, err)
	return config.Database
}

func TestCommitWithoutAnAnswer(t *testing.T) {
	// begun returns a transaction with a change, and the proxy that it goes through.
	begun := func(t *testing.T) (*sql.Tx, *pgtest.Proxy) {
		t.Helper()
		db, proxy := behindProxy(t)
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		_, err = tx.ExecContext(t.Context(), "create temp table made (n int unique deferrable initially deferred)")
		check.OK(t, err)
		return tx, proxy
	}
	t.Run("a COMMIT that was sent and has no answer is of an unknown outcome", func(t *testing.T) {
		t.Parallel()
		tx, proxy := begun(t)
		proxy.Hang()
		proxy.Reset()
		committed := make(chan error, 1)
		go func() { committed <- tx.Commit() }()
		pgtest.Eventually(t, "the COMMIT is sent", func() bool { return proxy.RoundTrips() > 0 })
		proxy.Cut()
		err := <-committed
		check.Equal(t, errors.Is(err, session.ErrCommitUnknown), true)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindCommitUnknown)
		check.Equal(t, pgsafe.KindOf(err).Transient(), false)
	})
	t.Run("a COMMIT is not sent to a session that the server has ended already", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t)) // without a proxy: what the server said is in the socket
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		var pid int
		check.OK(t, tx.QueryRowContext(t.Context(), "select pg_backend_pid()").Scan(&pid))
		_, err = pgtest.Shared(t).Admin(t).Exec(t.Context(), "select pg_terminate_backend($1, 60000)", pid)
		check.OK(t, err)
		err = tx.Commit()
		check.Equal(t, errors.Is(err, session.ErrCommitUnknown), false)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})
	t.Run("a COMMIT that the server refuses is of a known outcome", func(t *testing.T) {
		t.Parallel()
		tx, _ := begun(t)
		_, err := tx.ExecContext(t.Context(), "insert into made values (1), (1)")
		check.OK(t, err)
		err = tx.Commit()
		check.Equal(t, errors.Is(err, session.ErrCommitUnknown), false)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnique)
	})
}
