package session_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// states are what statements leave in the server's session, with a query that is true where it is.
var states = map[string]struct{ leave, has string }{
	"a setting":         {"SET application_name = 'left'", "SELECT current_setting('application_name') = 'left'"},
	"a temporary table": {"CREATE TEMP TABLE mine ()", "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'mine' AND pg_table_is_visible(oid))"},
	"LISTEN":            {"LISTEN news", "SELECT EXISTS (SELECT FROM pg_listening_channels())"},
	"an advisory lock":  {"SELECT pg_advisory_lock(42)", "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"},
	"a role":            {"SET ROLE pg_monitor", "SELECT current_user = 'pg_monitor'"},
}

// leave runs a statement in one of several ways.
var leave = map[string]func(t *testing.T, ctx context.Context, db *sql.DB, text string){
	"by a statement": func(t *testing.T, ctx context.Context, db *sql.DB, text string) { exec(t, ctx, db, text) },
	"by rows": func(t *testing.T, ctx context.Context, db *sql.DB, text string) {
		check.OK(t, query(t, ctx, db, text).Close())
	},
	"in a transaction": func(t *testing.T, ctx context.Context, db *sql.DB, text string) {
		tx(t, ctx, db, func(ctx context.Context) { exec(t, ctx, db, text) })
	},
	"in a nested transaction": func(t *testing.T, ctx context.Context, db *sql.DB, text string) {
		tx(t, ctx, db, func(ctx context.Context) {
			tx(t, ctx, db, func(ctx context.Context) { exec(t, ctx, db, text) })
		})
	},
	"in a *sql.Tx": func(t *testing.T, ctx context.Context, db *sql.DB, text string) {
		inner, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		exec(t, ctx, inner, text)
		check.OK(t, inner.Commit())
	},
	"on a *sql.Conn": func(t *testing.T, ctx context.Context, db *sql.DB, text string) {
		c := conn(t, ctx, db)
		exec(t, ctx, c, text)
		check.OK(t, c.Close())
	},
	"by a prepared statement": func(t *testing.T, ctx context.Context, db *sql.DB, text string) {
		stmt, err := db.PrepareContext(ctx, text)
		check.OK(t, err)
		defer stmt.Close()
		_, err = stmt.ExecContext(ctx)
		check.OK(t, err)
	},
}

func TestState(t *testing.T) {
	for what, state := range states {
		for way, leave := range leave {
			t.Run(what+" that is left "+way+" stays the session's until its end", func(t *testing.T) {
				db := open(t)
				check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
					leave(t, ctx, db, state.leave)
					pid := backend(t, ctx, db)
					for range 3 {
						check.Equal(t, one[bool](t, ctx, db, state.has), true)
						check.Equal(t, backend(t, ctx, db), pid)
						tx(t, ctx, db, func(ctx context.Context) { check.Equal(t, one[bool](t, ctx, db, state.has), true) })
						check.Equal(t, one[bool](t, t.Context(), db, state.has), false)
						check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
							check.Equal(t, one[bool](t, ctx, db, state.has), false)
							return nil
						}))
					}
					return nil
				}))
				allBack(t, db)
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() { check.Equal(t, one[bool](t, t.Context(), db, state.has), false) })
				}
				wg.Wait()
			})
		}
		t.Run(what+" that is left in a transaction outside of sessions reaches no other caller", func(t *testing.T) {
			db := open(t)
			tx(t, t.Context(), db, func(ctx context.Context) { exec(t, ctx, db, state.leave) })
			allBack(t, db)
			for range 3 {
				check.Equal(t, one[bool](t, t.Context(), db, state.has), false)
			}
		})
		t.Run(what+" that native code leaves in a session reaches no other caller", func(t *testing.T) {
			db := open(t)
			check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
				c := conn(t, ctx, db)
				defer c.Close()
				exec(t, ctx, c, state.leave)
				return pgsafe.Raw(c, func(pc *pgx.Conn) error { return pc.Ping(ctx) })
			}))
			allBack(t, db)
			check.Equal(t, one[bool](t, t.Context(), db, state.has), false)
		})
	}
	t.Run("statements of a session that has state wait for each other", func(t *testing.T) {
		db := open(t)
		check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
			exec(t, ctx, db, "CREATE TEMP TABLE mine (n int)")
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					for range 10 {
						exec(t, ctx, db, "INSERT INTO mine VALUES ($1)", i)
					}
				})
			}
			wg.Wait()
			check.Equal(t, one[int](t, ctx, db, "SELECT count(*) FROM mine"), 160)
			return nil
		}))
	})
	t.Run("the loss of a connection that has state is ErrLost until the session ends", func(t *testing.T) {
		g := newGate(t)
		check.OK(t, session.Do(t.Context(), g.db, func(ctx context.Context) error {
			exec(t, ctx, g.db, "SET application_name = 'left'")
			g.kill()
			for range 3 {
				_, err := g.db.ExecContext(ctx, "SELECT 1")
				isError(t, err, session.ErrLost)
				isError(t, session.Tx(ctx, g.db, nil, func(context.Context) error { return nil }), session.ErrLost)
			}
			return nil
		}))
		exec(t, t.Context(), g.db, "SELECT 1")
		allBack(t, g.db)
	})
	t.Run("a *sql.Conn taken outside of a session that has state is usable after it", func(t *testing.T) {
		db := open(t)
		c := conn(t, t.Context(), db)
		defer c.Close()
		check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
			exec(t, ctx, db, "SET application_name = 'left'")
			check.Equal(t, one[string](t, ctx, c, "SHOW application_name"), "left")
			return nil
		}))
		check.Equal(t, one[string](t, t.Context(), c, "SHOW application_name") != "left", true)
	})
	t.Run("a transaction that is left open in a session that has state is rolled back and logged", func(t *testing.T) {
		var log logged
		db := open(t, log.option())
		var inner *sql.Tx
		check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
			exec(t, ctx, db, "SET application_name = 'left'")
			var err error
			inner, err = db.BeginTx(context.WithoutCancel(ctx), nil)
			check.OK(t, err)
			enter(t, ctx, inner, "left")
			return nil
		}))
		isError(t, inner.Rollback(), sql.ErrTxDone)
		allBack(t, db)
		check.Equal(t, entries(t, db), "")
		log.shows(t, "what=transaction")
	})
}

func TestAffinity(t *testing.T) {
	t.Run("a session has the connection of its last statement while others take others", func(t *testing.T) {
		db := open(t)
		check.OK(t, session.Do(t.Context(), db, func(first context.Context) error {
			return session.Do(session.Detach(first), db, func(second context.Context) error {
				a := query(t, first, db, "SELECT pg_backend_pid()") // both are in use at once
				b := backend(t, second, db)
				check.Equal(t, a.Next(), true)
				var pid int
				check.OK(t, a.Scan(&pid))
				check.OK(t, a.Close())
				for range 10 {
					check.Equal(t, backend(t, first, db), pid)
					check.Equal(t, backend(t, second, db), b)
					tx(t, first, db, func(ctx context.Context) { check.Equal(t, backend(t, ctx, db), pid) })
				}
				return nil
			})
		}))
	})
	t.Run("a session that does nothing keeps no connection from a caller", func(t *testing.T) {
		db := open(t)
		db.SetMaxOpenConns(1)
		check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
			pid := backend(t, ctx, db)
			check.Equal(t, backend(t, t.Context(), db), pid)
			check.Equal(t, backend(t, ctx, db), pid)
			return nil
		}))
	})
}

func TestLeftOpen(t *testing.T) {
	leaves := map[string]struct {
		f    func(t *testing.T, ctx context.Context, db *sql.DB) func()
		what string
	}{
		"rows": {func(t *testing.T, ctx context.Context, db *sql.DB) func() {
			rows := query(t, ctx, db, "SELECT relname FROM pg_class")
			return func() { _ = rows.Close() }
		}, "what=rows statement=\"SELECT pg_class\""},
		"a transaction": {func(t *testing.T, ctx context.Context, db *sql.DB) func() {
			inner, err := db.BeginTx(ctx, nil)
			check.OK(t, err)
			return func() { _ = inner.Rollback() }
		}, "what=transaction statement=BEGIN"},
		"a *sql.Conn": {func(t *testing.T, ctx context.Context, db *sql.DB) func() {
			c := conn(t, ctx, db)
			exec(t, ctx, c, "SELECT 1")
			return func() { check.OK(t, c.Close()) }
		}, "what=connection statement=SELECT"},
	}
	for name, left := range leaves {
		t.Run(name+" that a session leaves open is logged, from the second time on with its call site", func(t *testing.T) {
			var log logged
			db := open(t, log.option())
			for range 2 {
				var end func()
				check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error { end = left.f(t, ctx, db); return nil }))
				end()
				allBack(t, db)
			}
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			check.Equal(t, len(lines), 2)
			for i, line := range lines {
				check.Equal(t, strings.Contains(line, left.what), true)
				check.Equal(t, strings.Contains(line, "opened=session/"), i == 1)
				check.Equal(t, strings.Contains(line, "_test.go:"), i == 1)
			}
		})
	}
	t.Run("rows that a transaction leaves open are logged, from the second time on with their call site", func(t *testing.T) {
		var log logged
		db := open(t, log.option())
		for range 2 {
			tx(t, t.Context(), db, func(ctx context.Context) { _ = query(t, ctx, db, long) })
			allBack(t, db)
		}
		check.Equal(t, strings.Count(log.String(), "what=rows"), 2)
		check.Equal(t, strings.Count(log.String(), "opened=session/rows_test.go:"), 1)
	})
	t.Run("a session that closes what it opened logs nothing", func(t *testing.T) {
		var log logged
		db := open(t, log.option())
		check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
			for way, leave := range leave {
				leave(t, ctx, db, fmt.Sprintf("SET application_name = '%s'", way[:5]))
			}
			return nil
		}))
		allBack(t, db)
		check.Equal(t, strings.Contains(log.String(), "left open"), false)
	})
}
