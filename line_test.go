package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// TestLine is about callers who wait while leases have all connections (line.go). In which order, with native code
// beside, nobody is forgotten is TestParkingModel.
func TestLine(t *testing.T) {
	// only is a database with a single connection, that somebody has.
	only := func(t *testing.T, more ...string) (db *sql.DB, c *pgsafe.Connector, tx *sql.Tx) {
		db = open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), append(more, "pool_max_conns=1")...))
		c, _ = pgsafe.ConnectorOf(db)
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		return db, c, tx
	}
	waiting := func(t *testing.T, c *pgsafe.Connector, n int) {
		t.Helper()
		pgtest.Eventually(t, "they wait", func() bool { return c.Stats().Waiting == n })
	}
	t.Run("a connection that comes back goes to the first in line, past the pool", func(t *testing.T) {
		t.Parallel()
		db, c, tx := only(t)
		_, err := tx.ExecContext(t.Context(), "create sequence turns")
		check.OK(t, err)
		before := c.Stats()
		var turns [5]int
		var served sync.WaitGroup
		for i := range turns {
			served.Go(func() {
				if err := db.QueryRowContext(t.Context(), "select nextval('turns')").Scan(&turns[i]); err != nil {
					t.Error(err)
				}
			})
			waiting(t, c, i+1)
		}
		check.OK(t, tx.Commit())
		served.Wait()
		check.Equal(t, turns, [5]int{1, 2, 3, 4, 5})
		after := c.Stats()
		check.Equal(t, after.Waited-before.Waited, 5)
		check.Equal(t, after.Acquired-before.Acquired, 5)
		check.Equal(t, after.Opened, 1)
		check.Equal(t, after.WaitTime > before.WaitTime, true)
	})
	t.Run("who gives up leaves the line, and the next one is served", func(t *testing.T) {
		t.Parallel()
		db, c, tx := only(t)
		impatient, cancel := context.WithCancel(t.Context())
		first, second := make(chan error), make(chan error)
		go func() { _, err := db.ExecContext(impatient, "select 1"); first <- err }()
		waiting(t, c, 1)
		go func() { _, err := db.ExecContext(t.Context(), "select 1"); second <- err }()
		waiting(t, c, 2)
		cancel()
		err := <-first
		check.Equal(t, errors.Is(err, context.Canceled), true)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindCanceled)
		check.OK(t, tx.Rollback())
		check.OK(t, <-second)
	})
	t.Run("a wait that is too long says who has the connections", func(t *testing.T) {
		t.Parallel()
		db, _, tx := only(t, "pool_acquire_timeout=2s") // in which one can be opened
		_, err := db.ExecContext(t.Context(), "select 1")
		var acquire *pgsafe.AcquireError
		check.Equal(t, errors.As(err, &acquire), true)
		check.Equal(t, acquire.InUse, 1)
		check.Equal(t, acquire.Waiting, 1)
		check.OK(t, tx.Rollback())
	})
	t.Run("who waits when the DB is closed is told so", func(t *testing.T) {
		t.Parallel()
		db, c, tx := only(t)
		waited := make(chan error)
		go func() { _, err := db.ExecContext(t.Context(), "select 1"); waited <- err }()
		waiting(t, c, 1)
		check.OK(t, db.Close())
		check.Equal(t, errors.Is(<-waited, pgsafe.ErrClosed), true)
		_ = tx.Rollback()
	})
	t.Run("who waits for a connection that breaks gets another", func(t *testing.T) {
		t.Parallel()
		db, c, tx := only(t)
		waited := make(chan error)
		go func() { _, err := db.ExecContext(t.Context(), "select 1"); waited <- err }()
		waiting(t, c, 1)
		_, err := tx.ExecContext(t.Context(), "select pg_terminate_backend(pg_backend_pid())")
		check.Equal(t, pgsafe.SQLState(err), "57P01")
		_ = tx.Rollback()
		check.OK(t, <-waited)
		check.Equal(t, c.Stats().Opened, 2)
	})
	t.Run("what one has left on it, and his settings, do not reach the next", func(t *testing.T) {
		t.Parallel()
		db, c, tx := only(t)
		for _, leave := range []func() error{
			func() error { return tx.Rollback() },
			func() error {
				_, err := db.ExecContext(session.WithSettings(t.Context(), map[string]string{"app.tenant": "1"}), "set search_path = pg_temp")
				return err
			},
		} {
			waited := make(chan string)
			go func() {
				waited <- one[string](t, db, "select current_setting('search_path') || coalesce(current_setting('app.tenant', true), '')")
			}()
			if c.Stats().InUse > 0 {
				waiting(t, c, 1)
			}
			check.OK(t, leave())
			check.Equal(t, <-waited, `"$user", public`)
		}
	})
	t.Run("two DBs on one connector take turns, so that neither starves", func(t *testing.T) {
		t.Parallel()
		db, _, tx := only(t)
		other := beside(t, db)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		native := func() error {
			_, err := other.ExecContext(ctx, "select 1")
			return err
		}
		leased := func() error { _, err := db.ExecContext(ctx, "select 1"); return err }
		for _, use := range []func() error{native, leased} {
			for range 4 {
				wg.Go(func() {
					for ctx.Err() == nil {
						if err := use(); err != nil && ctx.Err() == nil {
							t.Error(err)
						}
					}
				})
			}
		}
		check.OK(t, tx.Rollback())
		for range 50 {
			check.OK(t, native())
			check.OK(t, leased())
		}
		stop()
		wg.Wait()
		unused(t, db)
	})
	t.Run("at random nobody is forgotten", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=2", "pool_acquire_timeout=60s"))
		inParallel(t, 24, func(worker int) error {
			for i := range 100 {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if (worker+i)%7 == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i)*50*time.Microsecond)
				}
				var got int
				err := db.QueryRowContext(ctx, "select $1::int", i).Scan(&got)
				cancel()
				if err != nil && ctx.Err() == nil {
					return err
				}
				if err == nil && got != i {
					return errors.New("a statement got the answer of another")
				}
			}
			return nil
		})
		unused(t, db)
		check.Equal(t, statsOf(t, db).Waited > 0, true)
	})
}
