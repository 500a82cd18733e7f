package session_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// stats are the pool's.
func stats(tb testing.TB, db *sql.DB) pgsafe.Stats {
	tb.Helper()
	c, ok := pgsafe.ConnectorOf(db)
	check.Equal(tb, ok, true)
	return c.Stats()
}

// with adds parameters to a URI.
func with(uri, parameters string) string {
	if strings.Contains(uri, "?") {
		return uri + "&" + parameters
	}
	return uri + "?" + parameters
}

func TestLimit(t *testing.T) {
	t.Run("thirty transactions of three statements finish on one connection under SetMaxOpenConns(1)", func(t *testing.T) {
		db := open(t)
		db.SetMaxOpenConns(1)
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				err := session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
					for range 3 {
						enter(t, ctx, db, "x")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		check.Equal(t, one[int](t, t.Context(), db, "SELECT count(*) FROM ledger"), 90)
		check.Equal(t, stats(t, db).Opened, 1)
		check.Equal(t, stats(t, db).Max, 1)
		check.Equal(t, db.Stats().MaxOpenConnections, 0)
	})
	t.Run("thirty sessions with plain statements and transactions between them finish on one connection", func(t *testing.T) {
		db := open(t)
		db.SetMaxOpenConns(1)
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				err := session.Do(t.Context(), db, func(ctx context.Context) error {
					if i%3 == 0 {
						exec(t, ctx, db, "SET application_name = 'mine'")
					}
					enter(t, ctx, db, "x")
					return session.Tx(ctx, db, nil, func(ctx context.Context) error { enter(t, ctx, db, "y"); return nil })
				})
				if err != nil {
					t.Error(err)
				}
				if _, err := db.ExecContext(t.Context(), "SELECT"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		check.Equal(t, one[int](t, t.Context(), db, "SELECT count(*) FROM ledger"), 60)
		check.Equal(t, stats(t, db).Opened, 1)
	})
	t.Run("a limit that the application changes moves to the pool again", func(t *testing.T) {
		db := open(t)
		for _, n := range []int{3, 1, 2} {
			db.SetMaxOpenConns(n)
			check.OK(t, session.Do(t.Context(), db, func(context.Context) error { return nil }))
			check.Equal(t, stats(t, db).Max, n)
		}
	})
	t.Run("a limit above the cap of the pool leaves the cap", func(t *testing.T) {
		db := openAt(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=2"))
		db.SetMaxOpenConns(50)
		check.OK(t, session.Do(t.Context(), db, func(context.Context) error { return nil }))
		check.Equal(t, stats(t, db).Max, 2)
	})
	t.Run("code without a context in a transaction that has the only connection is told what holds it", func(t *testing.T) {
		db := openAt(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=1&pool_acquire_timeout=3s"))
		tx(t, t.Context(), db, func(ctx context.Context) {
			enter(t, ctx, db, "held")
			_, err := db.Exec("INSERT INTO ledger VALUES ('outside')")
			late, isLate := errors.AsType[*pgsafe.AcquireError](err)
			check.Equal(t, isLate, true)
			check.Equal(t, len(late.Holders), 1)
			check.Equal(t, strings.Contains(err.Error(), "INSERT ledger"), true)
			check.Equal(t, strings.Contains(err.Error(), "held'"), false)
			enter(t, ctx, db, "on")
		})
		check.Equal(t, entries(t, db), "held on")
	})
}
