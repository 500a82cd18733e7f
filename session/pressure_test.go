package session_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// TestPressure is about sessions at a time when somebody waits for a connection.
func TestPressure(t *testing.T) {
	// only is a database with a single connection.
	only := func(t *testing.T) (*sql.DB, *session.DB) {
		sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		return sqlDB, session.Wrap(sqlDB, session.WithLinger(forLong))
	}
	t.Run("between statements the session keeps nothing", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := only(t)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			pgtest.Eventually(t, "the session keeps nothing, while the pressure is not forgotten", func() bool {
				underPressure(t, ctx, sqlDB, db)
				for range 3 {
					exec(t, ctx, db, "SELECT 1")
					if sqlDB.Stats().InUse > 0 {
						return false
					}
				}
				return true
			})
			return nil
		}))
	})
	t.Run("a transaction keeps its connection", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := only(t)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			underPressure(t, ctx, sqlDB, db)
			return db.Tx(ctx, nil, func(ctx context.Context) error {
				exec(t, ctx, db, "SELECT 1")
				check.Equal(t, sqlDB.Stats().InUse, 1)
				return nil
			})
		}))
		allBack(t, sqlDB)
	})
	t.Run("a statement that leaves state keeps the connection it has", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := only(t)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			underPressure(t, ctx, sqlDB, db)
			exec(t, ctx, db, "SET search_path = pg_temp")
			short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := sqlDB.ExecContext(short, "SELECT 1")
			is(t, err, context.DeadlineExceeded)
			check.Equal(t, one[string](t, ctx, db, "SHOW search_path"), "pg_temp")
			return nil
		}))
		check.Equal(t, one[string](t, t.Context(), sqlDB, "SHOW search_path"), `"$user", public`)
	})
	t.Run("a statement that waits when the session ends says so", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := only(t)
		conn, err := sqlDB.Conn(t.Context())
		check.OK(t, err)
		exec(t, t.Context(), conn, "SELECT 1")
		waited := make(chan error, 3)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			go func() { waited <- db.QueryRowContext(ctx, "SELECT 1").Scan(new(int)) }() // for the session's connection
			eventuallyWaiting(t, sqlDB, 1)
			go func() { waited <- db.QueryRowContext(ctx, "SELECT 1").Scan(new(int)) }() // for any
			eventuallyWaiting(t, sqlDB, 2)
			go func() {
				_, err := db.QueryContext(ctx, "SELECT 1") //nolint:rowserrcheck,sqlclosecheck // there are none
				waited <- err
			}()
			eventuallyWaiting(t, sqlDB, 3)
			return nil
		}))
		for range cap(waited) {
			is(t, <-waited, session.ErrEnded)
		}
		check.OK(t, conn.Close())
		allBack(t, sqlDB)
	})
	t.Run("a context that does not end with the session has rows that do", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := only(t)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			underPressure(t, ctx, sqlDB, db)
			apart, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
			t.Cleanup(cancel)
			_, err := db.QueryContext(apart, "SELECT generate_series(1, 100000)") //nolint:rowserrcheck,sqlclosecheck // is left open
			return err
		}))
		allBack(t, sqlDB)
	})
	t.Run("statements that follow one another at once stay on a connection, so many at most", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		r := newRecorder(t)
		db := session.Wrap(sqlDB, r.options()...)
		atOnce(t, db)
		defer load(t, sqlDB)()
		pgtest.Eventually(t, "a session keeps its connection for more than one statement", func() bool {
			before := r.sum("pgsafe.session.checkouts")
			atOnce(t, db)
			checkouts := r.sum("pgsafe.session.checkouts") - before
			if checkouts < statementsAtOnce/16 {
				t.Fatalf("%d statements took %d connections while others waited", statementsAtOnce, checkouts)
			}
			return checkouts < statementsAtOnce
		})
	})
	t.Run("a connection kept for a statement that does not come goes to who waits", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := only(t)
		atOnce(t, db)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			for range 20 {
				exec(t, ctx, db, "SELECT 1")
				exec(t, t.Context(), sqlDB, "SELECT 1")
			}
			return nil
		}))
	})
	t.Run("what sessions leave open is told with the line that opened it", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		var log bytes.Buffer
		r := newRecorder(t)
		db := session.Wrap(sqlDB, append(r.options(), session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))...)
		var want []string
		leaveOpen(t, sqlDB, db, func(ctx context.Context) error {
			row := db.QueryRowContext(ctx, "SELECT generate_series(1, 100000)")
			want = append(want, "what=row opened="+lineBefore())
			return row.Err()
		})
		leaveOpen(t, sqlDB, db, func(ctx context.Context) error {
			_, err := db.QueryContext(ctx, "SELECT generate_series(1, 100000)") //nolint:rowserrcheck,sqlclosecheck // is left open
			want = append(want, "what=rows opened="+lineBefore())
			return err
		})
		first, second, _ := strings.Cut(log.String(), "\n")
		if !strings.Contains(first, want[0]) || !strings.Contains(second, want[1]) {
			t.Errorf("it tells %q, and should %q", log.String(), want)
		}
		check.Equal(t, r.sum("pgsafe.session.left_open"), 2)
	})
	t.Run("sessions of two tenants see their own settings", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=3"))
		db := session.Wrap(sqlDB)
		var wg sync.WaitGroup
		for i := range 16 {
			tenant := []string{"", "a", "b"}[i%3]
			ctx := t.Context()
			if tenant != "" {
				ctx = session.WithSettings(ctx, map[string]string{"app.tenant": tenant})
			}
			wg.Go(func() {
				for range 20 {
					if err := db.Do(ctx, func(ctx context.Context) error { return seesTenant(ctx, db, tenant) }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		allBack(t, sqlDB)
	})
}

// leaveOpen runs f in a session, when somebody waits for the only connection, and waits until what it leaves open is closed.
func leaveOpen(t *testing.T, sqlDB *sql.DB, db *session.DB, f func(ctx context.Context) error) {
	t.Helper()
	check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
		underPressure(t, ctx, sqlDB, db)
		return f(ctx)
	}))
	allBack(t, sqlDB)
}

// statementsAtOnce is how many statements atOnce runs.
const statementsAtOnce = 100

// atOnce runs a session whose statements follow one another at once.
func atOnce(t *testing.T, db *session.DB) {
	t.Helper()
	check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
		for range statementsAtOnce {
			exec(t, ctx, db, "SELECT 1")
		}
		return nil
	}))
}

// seesTenant runs some statements, which have to see that setting.
func seesTenant(ctx context.Context, db *session.DB, tenant string) error {
	for range 5 {
		var got string
		err := db.QueryRowContext(ctx, "SELECT coalesce(current_setting('app.tenant', true), '')").Scan(&got)
		if err != nil {
			return err
		}
		if got != tenant {
			return errors.New("it is " + got + " for " + tenant)
		}
	}
	return nil
}

// underPressure runs the first statement of a session when somebody waits for the only connection.
func underPressure(t *testing.T, ctx context.Context, sqlDB *sql.DB, db *session.DB) {
	t.Helper()
	tx, err := sqlDB.BeginTx(t.Context(), nil)
	check.OK(t, err)
	ran := make(chan error, 2)
	go func() { _, err := sqlDB.ExecContext(t.Context(), "SELECT 1"); ran <- err }()
	eventuallyWaiting(t, sqlDB, 1)
	go func() { _, err := db.ExecContext(ctx, "SELECT 1"); ran <- err }()
	eventuallyWaiting(t, sqlDB, 2)
	check.OK(t, tx.Rollback())
	check.OK(t, <-ran)
	check.OK(t, <-ran)
}

// eventuallyWaiting waits until so many wait for a connection.
func eventuallyWaiting(t *testing.T, sqlDB *sql.DB, n int) {
	t.Helper()
	c, _ := pgsafe.ConnectorOf(sqlDB)
	pgtest.Eventually(t, "they wait", func() bool { return c.Stats().Waiting == n })
}
