package pgsafe_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// ageOfBackend is how old the connection of a query is, in seconds.
const ageOfBackend = "select extract(epoch from clock_timestamp() - backend_start)::float8 from pg_stat_activity " +
	"where pid = pg_backend_pid()"

// database/sql closes handles, and pgsafe learns the limit from why it does: see dbsql.WhyClosed.
func TestLimitsOfASecond(t *testing.T) {
	// keepsIdle has a pool that closes no connection by itself, and a DB that keeps all its
	// handles.
	keepsIdle := func(t *testing.T) (*sql.DB, *watcher) {
		t.Helper()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "pool_max_conn_idle_time=1h", "pool_max_conn_lifetime=1h"))
		db.SetMaxIdleConns(5)
		return db, watch(t, uri)
	}
	t.Run("SetConnMaxLifetime of a second closes a connection that is in steady use", func(t *testing.T) {
		t.Parallel()
		db, _ := keepsIdle(t)
		db.SetConnMaxLifetime(time.Second)
		first := one[int](t, db, "select pg_backend_pid()")
		pgtest.Eventually(t, "another connection serves", func() bool {
			return one[int](t, db, "select pg_backend_pid()") != first
		})
	})
	t.Run("SetConnMaxLifetime of a second closes the connections that are idle", func(t *testing.T) {
		t.Parallel()
		db, w := keepsIdle(t)
		db.SetConnMaxLifetime(time.Second)
		holdAll(t, db, 5)()
		check.Equal(t, w.backends(), 5)
		pgtest.Eventually(t, "the connections are closed", func() bool { return w.backends() == 0 })
	})
	t.Run("SetConnMaxIdleTime of a second closes the connections that are idle", func(t *testing.T) {
		t.Parallel()
		db, w := keepsIdle(t)
		db.SetConnMaxIdleTime(time.Second)
		holdAll(t, db, 5)()
		check.Equal(t, w.backends(), 5)
		pgtest.Eventually(t, "the connections are closed", func() bool { return w.backends() == 0 })
	})
	t.Run("a connection lives on after SetConnMaxLifetime has lifted the limit", func(t *testing.T) {
		t.Parallel()
		db, _ := keepsIdle(t)
		db.SetConnMaxLifetime(time.Second)
		pgtest.Eventually(t, "a connection is closed for its age", func() bool {
			exec(t, db, "select 1")
			return statsOf(t, db).ClosedForAge > 0
		})
		db.SetConnMaxLifetime(0)
		pgtest.Eventually(t, "a connection is older than the limit was", func() bool {
			return one[float64](t, db, ageOfBackend) > 3
		})
	})
	t.Run("a handle that database/sql has no room for takes no connection with it, however old it is", func(t *testing.T) {
		t.Parallel()
		db, w := keepsIdle(t)
		db.SetMaxIdleConns(1)
		inParallel(t, 3, func(int) error {
			_, err := db.ExecContext(t.Context(), "select pg_sleep(1.1)")
			return err
		})
		check.Equal(t, db.Stats().MaxIdleClosed, 2)
		check.Equal(t, statsOf(t, db).ClosedForAge, 0)
		check.Equal(t, w.backends(), 3)
	})
}
