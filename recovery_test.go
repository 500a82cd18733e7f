package pgsafe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// load is what twenty workers have done that query all the time, with arguments.
type load struct {
	good  atomic.Int64
	stop  context.CancelFunc
	wg    sync.WaitGroup
	mu    sync.Mutex
	kinds map[string]int // of errors, by SQLSTATE or kind
	bad   int            // driver.ErrBadConn with nothing behind it
}

func startLoad(t *testing.T, db *sql.DB) *load {
	t.Helper()
	db.SetMaxIdleConns(20)
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{stop: cancel, kinds: map[string]int{}}
	for i := range 20 {
		l.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.query(db, i, n)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) query(db *sql.DB, worker, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var got int
	err := db.QueryRowContext(ctx, "select $1::int + $2::int", worker, n).Scan(&got)
	if err == nil {
		l.good.Add(1)
		return
	}
	kind := pgsafe.SQLState(err)
	if kind == "" {
		kind = pgsafe.KindOf(err).String()
	}
	if errors.Is(err, driver.ErrBadConn) {
		kind += " not begun" // database/sql has given it up
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kinds[kind]++
	if err == driver.ErrBadConn {
		l.bad++
	}
}

// moves waits until n more queries have succeeded.
func (l *load) moves(t *testing.T, n int64) {
	t.Helper()
	from := l.good.Load()
	pgtest.Eventually(t, "queries succeed", func() bool { return l.good.Load() >= from+n })
}

func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

func (l *load) errors() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.kinds {
		n += times
	}
	return n
}

// endAll ends all sessions of the database that are not the admin's.
func endAll(t *testing.T, cluster *pgtest.Cluster, database string) {
	t.Helper()
	_, err := cluster.Admin(t).Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", database)
	check.OK(t, err)
}

func TestBackendsTerminatedUnderLoad(t *testing.T) {
	cluster := pgtest.Shared(t)
	counts := map[string]string{}
	for _, name := range []string{"pgx", pgsafe.DriverName} {
		uri := cluster.Database(t)
		db := open(t, name, uri)
		l := startLoad(t, db)
		for range 10 {
			l.moves(t, 1000) // database/sql tries three times: a statement must not meet three of the ten
			endAll(t, cluster, databaseOf(t, uri))
		}
		l.moves(t, 100)
		l.end()
		counts[name] = fmt.Sprintf("%d good, %d failed %v", l.good.Load(), l.errors(), l.kinds)
		if name == pgsafe.DriverName {
			// A statement that had begun may be among them: that one is not repeated.
			for kind := range l.kinds {
				check.Equal(t, kind, "57P01")
			}
			check.Equal(t, l.bad, 0)
		}
	}
	t.Logf("every backend terminated 10 times under 20 connections: pgx %s; pgsafe %s", counts["pgx"], counts[pgsafe.DriverName])
}

func TestServerRestartedUnderLoad(t *testing.T) {
	for mode, name := range map[pgserver.Mode]string{pgserver.Fast: "fast", pgserver.Immediate: "immediate"} {
		t.Run(name, func(t *testing.T) {
			cluster := pgtest.New(t, pgserver.Options{})
			counts := map[string]string{}
			for _, name := range []string{"pgx", pgsafe.DriverName} {
				db := open(t, name, cluster.URI("postgres"))
				l := startLoad(t, db)
				l.moves(t, 200)
				check.OK(t, cluster.Halt(mode))
				started := time.Now()
				check.OK(t, cluster.Restart(t.Context()))
				l.moves(t, 200)
				counts[name] = fmt.Sprintf("%d failed %v, 200 more queries after %v", l.errors(), l.kinds, time.Since(started).Round(time.Millisecond))
				if name == pgsafe.DriverName {
					check.Equal(t, l.bad, 0)
				}
				l.end()
			}
			t.Logf("%s restart under 20 connections: pgx %.300s; pgsafe %s", name, counts["pgx"], counts[pgsafe.DriverName])
		})
	}
}

// learnsReadOnly has one connection of db learn that its server refuses writes.
func learnsReadOnly(t *testing.T, db *sql.DB) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	check.OK(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "set default_transaction_read_only = on")
	check.OK(t, err)
	_, err = conn.ExecContext(t.Context(), "create table t ()")
	check.Equal(t, pgsafe.SQLState(err), "25006")
}

func TestAFailureOfTheServerEndsTheGeneration(t *testing.T) {
	t.Run("idle connections close, and the floor is filled up", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		db, err := pgsafe.Open(with(uri, "pool_min_idle_conns=4", "pool_max_conns=8", "pool_health_check_period=1h",
			"target_session_attrs=read-write"))
		check.OK(t, err)
		t.Cleanup(func() { check.OK(t, db.Close()) })
		c, _ := pgsafe.ConnectorOf(db)
		check.OK(t, c.WarmUp(t.Context(), 4))
		pids := func() (all []int) {
			release := holdAll(t, db, 1)
			defer release()
			rows, err := cluster.Admin(t).Query(t.Context(), "select pid from pg_stat_activity where datname = $1 order by 1", databaseOf(t, uri))
			check.OK(t, err)
			for rows.Next() {
				var pid int
				check.OK(t, rows.Scan(&pid))
				all = append(all, pid)
			}
			check.OK(t, rows.Err())
			return all
		}
		before := pids()

		// One of them learns that the server takes no writes any more.
		learnsReadOnly(t, db)

		old := map[int]bool{}
		for _, pid := range before {
			old[pid] = true
		}
		pgtest.Eventually(t, "four new connections are open and none of the old", func() bool {
			now := pids()
			for _, pid := range now {
				if old[pid] {
					return false
				}
			}
			return len(now) >= 4
		})
	})

	t.Run("one that stays in use does not keep the new ones from others", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		db := open(t, pgsafe.DriverName, with(cluster.Database(t), "pool_min_idle_conns=4", "pool_max_conns=4",
			"pool_health_check_period=100ms", "target_session_attrs=read-write"))
		used, err := db.Conn(t.Context())
		check.OK(t, err)
		defer used.Close()
		check.OK(t, used.PingContext(t.Context()))
		pgtest.Eventually(t, "the floor is there", func() bool { return statsOf(t, db).Idle == 3 })
		learnsReadOnly(t, db)
		pgtest.Eventually(t, "three new ones are open", func() bool {
			s := statsOf(t, db)
			return s.Opened >= 7 && s.Connecting == 0
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // the fourth has no place
		defer cancel()
		_, err = db.ExecContext(ctx, "select 1")
		check.OK(t, err)
		opened := statsOf(t, db).Opened
		check.OK(t, used.Close())
		pgtest.Eventually(t, "it is replaced", func() bool { s := statsOf(t, db); return s.Opened > opened && s.Total == 4 })
	})

	t.Run("a primary that takes no writes by default stays one", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		_, err := cluster.Admin(t).Exec(t.Context(), "alter database "+databaseOf(t, uri)+" set default_transaction_read_only = on")
		check.OK(t, err)
		db := open(t, pgsafe.DriverName, with(uri, "target_session_attrs=primary"))
		for range 3 {
			_, err := db.ExecContext(t.Context(), "create table t ()")
			check.Equal(t, pgsafe.SQLState(err), "25006")
		}
		check.Equal(t, statsOf(t, db).Opened, 1)
	})

	t.Run("a statement that is refused for another reason ends nothing", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		db := open(t, pgsafe.DriverName, with(uri, "target_session_attrs=read-write"))
		pid := one[int](t, db, "select pg_backend_pid()")
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
		check.OK(t, err)
		_, err = tx.ExecContext(t.Context(), "create table t ()")
		check.Equal(t, pgsafe.SQLState(err), "25006")
		check.OK(t, tx.Rollback())
		check.Equal(t, one[int](t, db, "select pg_backend_pid()"), pid)
	})

	t.Run("a server that has become read-only is left where a primary is asked for", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.New(t, pgserver.Options{})
		db := open(t, pgsafe.DriverName, with(cluster.URI("postgres"), "target_session_attrs=read-write"))
		pid := one[int](t, db, "select pg_backend_pid()")
		admin := cluster.Admin(t)
		for _, sql := range []string{"alter system set default_transaction_read_only = on", "select pg_reload_conf()"} {
			_, err := admin.Exec(t.Context(), sql)
			check.OK(t, err)
		}
		pgtest.Eventually(t, "a write is refused", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := db.ExecContext(ctx, "create temp table t ()") // it goes as the connection comes back
			return pgsafe.SQLState(err) == "25006"
		})
		for _, sql := range []string{"set default_transaction_read_only = off", "alter system reset default_transaction_read_only", "select pg_reload_conf()"} {
			_, err := admin.Exec(t.Context(), sql)
			check.OK(t, err)
		}
		pgtest.Eventually(t, "the pool writes again", func() bool {
			_, err := db.ExecContext(t.Context(), "create table if not exists t ()")
			return err == nil
		})
		if one[int](t, db, "select pg_backend_pid()") == pid {
			t.Error("it is the connection that was refused")
		}
	})
}
