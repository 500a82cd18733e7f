package session_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/scope"
	"github.com/pgsafe/pgsafe/session"
)

// tx runs f in a transaction, which must succeed.
func tx(tb testing.TB, ctx context.Context, db *sql.DB, f func(ctx context.Context)) {
	tb.Helper()
	check.OK(tb, session.Tx(ctx, db, nil, func(ctx context.Context) error { f(ctx); return nil }))
}

// undone runs f in a transaction that is rolled back.
func undone(tb testing.TB, ctx context.Context, db *sql.DB, f func(ctx context.Context)) {
	tb.Helper()
	isError(tb, session.Tx(ctx, db, nil, func(ctx context.Context) error { f(ctx); return errApp }), errApp)
}

// conn takes a *sql.Conn.
func conn(tb testing.TB, ctx context.Context, db *sql.DB) *sql.Conn {
	tb.Helper()
	c, err := db.Conn(ctx)
	check.OK(tb, err)
	return c
}

// busySoon shortens the time after which something idle is in the way, for one test.
func busySoon(tb testing.TB) {
	before := scope.BusyTimeout
	scope.BusyTimeout = 50 * time.Millisecond
	tb.Cleanup(func() { scope.BusyTimeout = before })
}

func TestConnInside(t *testing.T) {
	db := open(t)
	t.Run("a *sql.Conn taken before a transaction and used before stays outside", func(t *testing.T) {
		c := conn(t, t.Context(), db)
		defer c.Close()
		exec(t, t.Context(), c, "SELECT")
		undone(t, t.Context(), db, func(ctx context.Context) { enter(t, ctx, c, "outside") })
		check.Equal(t, entries(t, db), "outside")
		exec(t, t.Context(), db, "TRUNCATE ledger")
	})
	t.Run("a *sql.Conn taken before and first used in a transaction is usable after it", func(t *testing.T) {
		c := conn(t, t.Context(), db)
		defer c.Close()
		undone(t, t.Context(), db, func(ctx context.Context) { enter(t, ctx, c, "inside") })
		check.Equal(t, entries(t, db), "")
		enter(t, t.Context(), c, "after")
		check.Equal(t, entries(t, db), "after")
		exec(t, t.Context(), db, "TRUNCATE ledger")
	})
	t.Run("a *sql.Conn taken in a transaction gets ErrEnded after it", func(t *testing.T) {
		var c *sql.Conn
		undone(t, t.Context(), db, func(ctx context.Context) { c = conn(t, ctx, db); enter(t, ctx, c, "inside") })
		defer c.Close()
		_, err := c.ExecContext(t.Context(), "INSERT INTO ledger VALUES ('after')")
		isError(t, err, session.ErrEnded)
		check.Equal(t, entries(t, db), "")
	})
	t.Run("a transaction of a *sql.Conn taken inside is a savepoint", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			c := conn(t, ctx, db)
			defer c.Close()
			inner, err := c.BeginTx(ctx, nil)
			check.OK(t, err)
			enter(t, ctx, inner, "undone")
			check.OK(t, inner.Rollback())
			enter(t, ctx, c, "kept")
		})
		check.Equal(t, entries(t, db), "kept")
		exec(t, t.Context(), db, "TRUNCATE ledger")
	})
	t.Run("a *sql.Tx begun before a transaction stays outside", func(t *testing.T) {
		outer, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		undone(t, t.Context(), db, func(ctx context.Context) { enter(t, ctx, outer, "outside") })
		check.OK(t, outer.Commit())
		check.Equal(t, entries(t, db), "outside")
		exec(t, t.Context(), db, "TRUNCATE ledger")
	})
	t.Run("a statement of tx.Stmt runs in the savepoint", func(t *testing.T) {
		stmt, err := db.PrepareContext(t.Context(), "INSERT INTO ledger VALUES ($1)")
		check.OK(t, err)
		defer stmt.Close()
		tx(t, t.Context(), db, func(ctx context.Context) {
			inner, err := db.BeginTx(ctx, nil)
			check.OK(t, err)
			_, err = inner.StmtContext(ctx, stmt).ExecContext(ctx, "undone")
			check.OK(t, err)
			check.OK(t, inner.Rollback())
			_, err = stmt.ExecContext(ctx, "kept")
			check.OK(t, err)
		})
		check.Equal(t, entries(t, db), "kept")
		exec(t, t.Context(), db, "TRUNCATE ledger")
	})
	t.Run("a statement prepared in a transaction runs outside after it", func(t *testing.T) {
		var stmt *sql.Stmt
		undone(t, t.Context(), db, func(ctx context.Context) {
			var err error
			stmt, err = db.PrepareContext(ctx, "INSERT INTO ledger VALUES ($1) RETURNING entry")
			check.OK(t, err)
			_, err = stmt.ExecContext(ctx, "undone")
			check.OK(t, err)
		})
		defer stmt.Close()
		var entry string
		check.OK(t, stmt.QueryRowContext(t.Context(), "after").Scan(&entry))
		check.Equal(t, entries(t, db), "after")
	})
	allBack(t, db)
}

func TestRawInside(t *testing.T) {
	db := open(t)
	native := func(c *sql.Conn, f func(*pgx.Conn) error) error {
		return c.Raw(func(dc any) error { return f(dc.(interface{ Conn() *pgx.Conn }).Conn()) })
	}
	t.Run("native code of conn.Raw runs in the transaction, and statements follow", func(t *testing.T) {
		undone(t, t.Context(), db, func(ctx context.Context) {
			c := conn(t, ctx, db)
			defer c.Close()
			check.OK(t, native(c, func(pc *pgx.Conn) error {
				_, err := pc.Exec(ctx, "INSERT INTO ledger VALUES ('raw')")
				return err
			}))
			enter(t, ctx, c, "conn")
			check.OK(t, native(c, func(pc *pgx.Conn) error { return pc.Ping(ctx) }))
			check.OK(t, c.Close())
			check.Equal(t, one[string](t, ctx, db, "SELECT string_agg(entry, ' ' ORDER BY entry) FROM ledger"), "conn raw")
		})
		check.Equal(t, entries(t, db), "")
	})
	t.Run("native code may ask for its connection again while it has rows open", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			c := conn(t, ctx, db)
			defer c.Close()
			check.OK(t, c.Raw(func(dc any) error {
				h := dc.(interface{ Conn() *pgx.Conn })
				rows, err := h.Conn().Query(ctx, "SELECT generate_series(1, 1000)")
				check.OK(t, err)
				check.Equal(t, h.Conn() != nil, true)
				n := 0
				for rows.Next() {
					n++
				}
				check.Equal(t, n, 1000)
				return rows.Err()
			}))
		})
	})
	t.Run("a statement waits for native code that is at work, and gets ErrBusy when that does nothing", func(t *testing.T) {
		busySoon(t)
		tx(t, t.Context(), db, func(ctx context.Context) {
			c := conn(t, ctx, db)
			defer c.Close()
			waits := func() <-chan error {
				got := make(chan error, 1)
				go func() { _, err := db.ExecContext(ctx, "SELECT 'waits'"); got <- err }()
				return got
			}
			var worked, idle error
			check.OK(t, pgsafe.Raw(c, func(pc *pgx.Conn) error {
				_, err := pc.Exec(ctx, "SELECT 1")
				check.OK(t, err)
				got := waits()
				_, err = pc.Exec(ctx, "SELECT pg_sleep(0.5)") // ten times the timeout
				check.OK(t, err)
				select {
				case worked = <-got:
				default:
				}
				idle = <-waits()
				return nil
			}))
			check.OK(t, worked)
			isError(t, idle, session.ErrBusy)
		})
	})
	t.Run("native code that leaves rows open loses the transaction", func(t *testing.T) {
		err := session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			c := conn(t, ctx, db)
			defer c.Close()
			enter(t, ctx, c, "lost")
			return pgsafe.Raw(c, func(pc *pgx.Conn) error {
				_, err := pc.Query(ctx, "SELECT generate_series(1, 100000)")
				return err
			})
		})
		isError(t, err, session.ErrLost)
		check.Equal(t, entries(t, db), "")
	})
	for name, end := range map[string]error{"commits": nil, "rolls back": errApp} {
		t.Run("a *sql.Conn that native code was given and that is never closed does not hold up a transaction that "+name, func(t *testing.T) {
			busySoon(t)
			var c *sql.Conn
			err := session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
				c = conn(t, ctx, db)
				enter(t, ctx, db, "lost")
				check.OK(t, native(c, func(pc *pgx.Conn) error { return pc.Ping(ctx) }))
				return end
			})
			if end == nil {
				isError(t, err, session.ErrRolledBack)
				isError(t, err, session.ErrBusy)
			} else {
				isError(t, err, errApp)
			}
			check.Equal(t, entries(t, db), "")
			check.OK(t, c.Close())
			allBack(t, db)
		})
	}
	t.Run("LISTEN in a transaction ends with its use of the connection", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			c := conn(t, ctx, db)
			defer c.Close()
			exec(t, ctx, c, "LISTEN news")
		})
		allBack(t, db)
		check.Equal(t, one[int](t, t.Context(), db, "SELECT count(*) FROM pg_listening_channels()"), 0)
	})
	allBack(t, db)
}

func TestSavepoints(t *testing.T) {
	db := open(t)
	t.Run("a *sql.Tx that ends after its transaction has ended is told so", func(t *testing.T) {
		busySoon(t)
		var late *sql.Tx
		err := session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			var err error
			late, err = db.BeginTx(context.WithoutCancel(ctx), nil)
			check.OK(t, err)
			enter(t, ctx, late, "late")
			return nil
		})
		isError(t, err, session.ErrRolledBack)
		isError(t, err, session.ErrBusy)
		isError(t, late.Commit(), sql.ErrTxDone)
		check.Equal(t, entries(t, db), "")
		allBack(t, db)
	})
	t.Run("a statement with the outer context gets ErrBusy while a *sql.Tx does nothing", func(t *testing.T) {
		busySoon(t)
		tx(t, t.Context(), db, func(ctx context.Context) {
			inner, err := db.BeginTx(ctx, nil)
			check.OK(t, err)
			_, err = db.ExecContext(ctx, "INSERT INTO ledger VALUES ('busy')")
			isError(t, err, session.ErrBusy)
			check.OK(t, inner.Rollback())
			enter(t, ctx, db, "free")
		})
		check.Equal(t, entries(t, db), "free")
		exec(t, t.Context(), db, "TRUNCATE ledger")
	})
	t.Run("a nested transaction may have a StatementTimeout in a context with settings", func(t *testing.T) {
		tx(t, tenant(t.Context(), "1"), db, func(ctx context.Context) {
			check.OK(t, session.Tx(ctx, db, &session.TxOptions{StatementTimeout: time.Minute}, func(ctx context.Context) error {
				check.Equal(t, one[string](t, ctx, db, "SHOW statement_timeout"), "1min")
				return nil
			}))
		})
	})
	t.Run("nothing begins within a transaction with other settings than its own", func(t *testing.T) {
		tx(t, tenant(t.Context(), "1"), db, func(ctx context.Context) {
			_, err := db.BeginTx(tenant(ctx, "2"), nil)
			isError(t, err, session.ErrSettings)
			never := func(context.Context) error { t.Error("the function was called"); return nil }
			isError(t, session.Tx(tenant(ctx, "2"), db, nil, never), session.ErrSettings)
			check.Equal(t, one[string](t, ctx, db, "SHOW app.tenant"), "1") // it goes on
		})
	})
	t.Run("a *sql.Conn with other settings than the transaction runs nothing under the transaction's", func(t *testing.T) {
		tx(t, tenant(t.Context(), "1"), db, func(ctx context.Context) {
			conn, err := db.Conn(tenant(ctx, "2"))
			check.OK(t, err)
			defer conn.Close()
			_, err = conn.ExecContext(context.Background(), "SELECT 1")
			isError(t, err, session.ErrSettings)
			isError(t, pgsafe.Raw(conn, func(*pgx.Conn) error { t.Error("it was called"); return nil }), session.ErrSettings)
			exec(t, ctx, conn, "SELECT 1")
			_, err = conn.ExecContext(tenant(ctx, "2"), "SELECT 1")
			isError(t, err, session.ErrSettings)
			check.Equal(t, one[string](t, context.Background(), conn, "SHOW app.tenant"), "1")
		})
	})
	t.Run("a nested transaction cannot have a higher isolation level, and the outer one goes on", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			_, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
			isError(t, err, session.ErrOptions)
			never := func(context.Context) error { t.Error("the function was called"); return nil }
			isError(t, session.Tx(ctx, db, &session.TxOptions{Isolation: sql.LevelRepeatableRead}, never), session.ErrOptions)
			enter(t, ctx, db, "on")
		})
		check.Equal(t, entries(t, db), "on")
		exec(t, t.Context(), db, "TRUNCATE ledger")
	})
	t.Run("a nested transaction of the same or a lower isolation level is allowed", func(t *testing.T) {
		check.OK(t, session.Tx(t.Context(), db, &session.TxOptions{Isolation: sql.LevelSerializable}, func(ctx context.Context) error {
			check.Equal(t, one[string](t, ctx, db, "SHOW transaction_isolation"), "serializable")
			return session.Tx(ctx, db, &session.TxOptions{Isolation: sql.LevelReadCommitted}, func(context.Context) error { return nil })
		}))
	})
	t.Run("a read-only nested transaction cannot write, and the outer one can after it", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			for _, fails := range []bool{false, true} {
				_ = session.Tx(ctx, db, &session.TxOptions{ReadOnly: true}, func(ctx context.Context) error {
					check.Equal(t, one[string](t, ctx, db, "SHOW transaction_read_only"), "on")
					if !fails {
						return nil
					}
					_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ('read-only')")
					check.Equal(t, err != nil, true)
					return err
				})
				check.Equal(t, one[string](t, ctx, db, "SHOW transaction_read_only"), "off")
			}
			enter(t, ctx, db, "written")
		})
		check.Equal(t, entries(t, db), "written")
		exec(t, t.Context(), db, "TRUNCATE ledger")
	})
	t.Run("a nested transaction that another goroutine leaves open is not committed", func(t *testing.T) {
		began, over := make(chan struct{}), make(chan error)
		err := session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			enter(t, ctx, db, "outer")
			go func() {
				over <- session.Tx(ctx, db, nil, func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ('inner')")
					close(began)
					<-ctx.Done()
					return err
				})
			}()
			<-began
			return nil
		})
		isError(t, err, session.ErrRolledBack)
		isError(t, err, session.ErrBusy)
		isError(t, <-over, context.Canceled)
		check.Equal(t, entries(t, db), "")
		allBack(t, db)
	})
	t.Run("a savepoint that is released by a nested transaction three levels deep is committed with the outermost", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			tx(t, ctx, db, func(ctx context.Context) {
				tx(t, ctx, db, func(ctx context.Context) {
					inner, err := db.BeginTx(ctx, nil)
					check.OK(t, err)
					enter(t, ctx, inner, "4")
					check.OK(t, inner.Commit())
					enter(t, ctx, db, "3")
				})
				enter(t, ctx, db, "2")
			})
			enter(t, ctx, db, "1")
		})
		check.Equal(t, entries(t, db), "1 2 3 4")
		exec(t, t.Context(), db, "TRUNCATE ledger")
	})
	t.Run("a statement timeout of a nested transaction ends with it", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			before := one[string](t, ctx, db, "SHOW statement_timeout")
			check.OK(t, session.Tx(ctx, db, &session.TxOptions{StatementTimeout: time.Minute}, func(ctx context.Context) error {
				check.Equal(t, one[string](t, ctx, db, "SHOW statement_timeout"), "1min")
				return nil
			}))
			check.Equal(t, one[string](t, ctx, db, "SHOW statement_timeout"), before)
		})
	})
	t.Run("concurrent nested transactions wait for each other, and each is whole", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					err := session.Tx(ctx, db, nil, func(ctx context.Context) error {
						enter(t, ctx, db, string(rune('a'+i)))
						enter(t, ctx, db, string(rune('A'+i)))
						if i%2 == 0 {
							return errApp
						}
						return nil
					})
					check.Equal(t, errors.Is(err, errApp), i%2 == 0)
				})
			}
			wg.Wait()
		})
		check.Equal(t, one[int](t, t.Context(), db, "SELECT count(*) FROM ledger"), 8)
		check.Equal(t, one[int](t, t.Context(), db, "SELECT count(DISTINCT lower(entry)) FROM ledger"), 4)
	})
	allBack(t, db)
}

func TestOutside(t *testing.T) {
	t.Run("a detached context is outside, and so is one detached twice", func(t *testing.T) {
		db := open(t)
		undone(t, t.Context(), db, func(ctx context.Context) {
			enter(t, session.Detach(ctx), db, "once")
			enter(t, session.Detach(session.Detach(ctx)), db, "twice")
			tx(t, session.Detach(ctx), db, func(ctx context.Context) {
				enter(t, ctx, db, "own")
				check.Equal(t, session.Attempt(ctx), 1)
				check.Equal(t, session.Attempt(session.Detach(ctx)), 0)
			})
		})
		check.Equal(t, entries(t, db), "once own twice")
	})
	t.Run("a detached context goes on after the end", func(t *testing.T) {
		db := open(t)
		var late context.Context
		ctx, cancel := context.WithCancel(t.Context())
		check.OK(t, session.Do(ctx, db, func(ctx context.Context) error { late = session.Detach(ctx); return nil }))
		cancel()
		enter(t, late, db, "late")
		check.Equal(t, entries(t, db), "late")
	})
	t.Run("a context without cancel gets ErrEnded after its transaction, and the pool after its session", func(t *testing.T) {
		db := open(t)
		var late context.Context
		tx(t, t.Context(), db, func(ctx context.Context) { late = context.WithoutCancel(ctx) })
		_, err := db.ExecContext(late, "INSERT INTO ledger VALUES ('late')")
		isError(t, err, session.ErrEnded)
		_, err = db.QueryContext(late, "SELECT 1")
		isError(t, err, session.ErrEnded)
		_, err = db.BeginTx(late, nil)
		isError(t, err, session.ErrEnded)
		isError(t, session.Tx(late, db, nil, func(context.Context) error { return nil }), session.ErrEnded)
		isError(t, db.QueryRowContext(late, "SELECT 1").Scan(new(int)), session.ErrEnded)
		check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
			exec(t, ctx, db, "SET application_name = 'session'")
			late = context.WithoutCancel(ctx)
			return nil
		}))
		enter(t, late, db, "session")
		tx(t, late, db, func(ctx context.Context) { enter(t, ctx, db, "transaction") })
		check.Equal(t, entries(t, db), "session transaction")
		allBack(t, db)
	})
	t.Run("transactions of two databases do not mix", func(t *testing.T) {
		a, b := open(t), open(t)
		tx(t, t.Context(), a, func(ctx context.Context) {
			undone(t, ctx, b, func(ctx context.Context) {
				enter(t, ctx, a, "a")
				enter(t, ctx, b, "b")
			})
		})
		check.Equal(t, entries(t, a), "a")
		check.Equal(t, entries(t, b), "")
	})
	t.Run("a second pool on the same string is outside", func(t *testing.T) {
		uri := pgtest.Shared(t).Database(t)
		first, second := openAt(t, uri), openAt(t, uri)
		undone(t, t.Context(), first, func(ctx context.Context) {
			enter(t, ctx, first, "first")
			enter(t, ctx, second, "second")
		})
		check.Equal(t, entries(t, first), "second")
	})
	t.Run("Do and Tx refuse a *sql.DB of another driver", func(t *testing.T) {
		db, err := sql.Open("pgx", pgtest.Shared(t).Database(t))
		check.OK(t, err)
		defer db.Close()
		never := func(context.Context) error { t.Error("the function was called"); return nil }
		isError(t, session.Do(t.Context(), db, never), session.ErrForeign)
		isError(t, session.Tx(t.Context(), db, nil, never), session.ErrForeign)
	})
}
