package session_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

var errApp = errors.New("the application's")

// ledger makes a table of what was done, in a database of its own.
func ledger(t *testing.T, driverName string, opts ...session.Option) (*sql.DB, *session.DB) {
	t.Helper()
	sqlDB := openWith(t, driverName, pgtest.Shared(t).Database(t))
	exec(t, t.Context(), sqlDB, "CREATE TABLE ledger (entry text)")
	return sqlDB, session.Wrap(sqlDB, opts...)
}

func enter(t *testing.T, ctx context.Context, db execer, entry string) {
	t.Helper()
	exec(t, ctx, db, "INSERT INTO ledger VALUES ($1)", entry)
}

// entries are what is in the ledger, in order.
func entries(t *testing.T, db execer) string {
	t.Helper()
	return one[string](t, t.Context(), db, "SELECT coalesce(string_agg(entry, ' ' ORDER BY entry), '') FROM ledger")
}

func TestTx(t *testing.T) {
	for _, driverName := range drivers {
		t.Run(driverName+": what the function's end does to the transaction", func(t *testing.T) {
			t.Parallel()
			sqlDB, db := ledger(t, driverName)
			check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error { enter(t, ctx, db, "return"); return nil }))
			is(t, db.Tx(t.Context(), nil, func(ctx context.Context) error { enter(t, ctx, db, "error"); return errApp }), errApp)
			func() {
				defer func() { check.Equal(t, recover(), any("panic")) }()
				_ = db.Tx(t.Context(), nil, func(ctx context.Context) error { enter(t, ctx, db, "panic"); panic("panic") })
			}()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = db.Tx(t.Context(), nil, func(ctx context.Context) error { enter(t, ctx, db, "Goexit"); runtime.Goexit(); return nil })
			}()
			<-done
			check.Equal(t, entries(t, sqlDB), "return")
			allBack(t, sqlDB)
		})
		t.Run(driverName+": nested ones fail alone, and their savepoints have names of their own", func(t *testing.T) {
			t.Parallel()
			sqlDB, db := ledger(t, driverName)
			check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
				enter(t, ctx, db, "1")
				is(t, db.Tx(ctx, nil, func(ctx context.Context) error {
					enter(t, ctx, db, "2")
					return db.Tx(ctx, nil, func(ctx context.Context) error { enter(t, ctx, db, "3"); return errApp })
				}), errApp)
				check.OK(t, db.Tx(ctx, nil, func(ctx context.Context) error {
					enter(t, ctx, db, "4")
					err := db.Tx(ctx, nil, func(ctx context.Context) error {
						enter(t, ctx, db, "5")
						_, err := db.ExecContext(ctx, "SELECT 1/0")
						return err
					})
					if err == nil {
						t.Error("the server can divide by zero")
					}
					enter(t, ctx, db, "6")
					return nil
				}))
				func() {
					defer func() { check.Equal(t, recover(), any("inner")) }()
					_ = db.Tx(ctx, nil, func(ctx context.Context) error { enter(t, ctx, db, "7"); panic("inner") })
				}()
				enter(t, ctx, db, "8")
				return nil
			}))
			check.Equal(t, entries(t, sqlDB), "1 4 6 8")
		})
		t.Run(driverName+": the end of a context rolls back at once, and keeps the connection", func(t *testing.T) {
			t.Parallel()
			cluster := pgtest.Shared(t)
			sqlDB, db := ledger(t, driverName)
			var pid int
			ctx, cancel := context.WithCancel(t.Context())
			err := db.Tx(ctx, nil, func(ctx context.Context) error {
				enter(t, ctx, db, "1")
				pid = backend(t, ctx, db)
				cancel()
				admin := cluster.Admin(t)
				pgtest.Eventually(t, "the transaction is over", func() bool {
					var state string
					check.OK(t, admin.QueryRow(t.Context(), "SELECT state FROM pg_stat_activity WHERE pid = $1", pid).Scan(&state))
					return state == "idle"
				})
				_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ('2')")
				is(t, err, context.Canceled)
				return nil // what was swallowed must not be committed
			})
			is(t, err, context.Canceled)
			check.Equal(t, backend(t, t.Context(), sqlDB), pid)
			check.Equal(t, entries(t, sqlDB), "")
		})
		t.Run(driverName+": a COMMIT that the server turns into a ROLLBACK is an error", func(t *testing.T) {
			t.Parallel()
			sqlDB, db := ledger(t, driverName)
			err := db.Tx(t.Context(), nil, func(ctx context.Context) error {
				enter(t, ctx, db, "1")
				_, _ = db.ExecContext(ctx, "SELECT 1/0")
				return nil
			})
			is(t, err, session.ErrRolledBack)
			check.Equal(t, entries(t, sqlDB), "")
		})
		t.Run(driverName+": a constraint that is checked at COMMIT is an error", func(t *testing.T) {
			t.Parallel()
			sqlDB, db := ledger(t, driverName)
			exec(t, t.Context(), sqlDB, "ALTER TABLE ledger ADD CONSTRAINT once UNIQUE (entry) DEFERRABLE INITIALLY DEFERRED")
			err := db.Tx(t.Context(), nil, func(ctx context.Context) error {
				enter(t, ctx, db, "1")
				enter(t, ctx, db, "1")
				return nil
			})
			check.Equal(t, pgsafe.SQLState(err), "23505")
			check.Equal(t, entries(t, sqlDB), "")
		})
		t.Run(driverName+": statements of several goroutines wait for each other", func(t *testing.T) {
			t.Parallel()
			sqlDB, db := ledger(t, driverName)
			check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
				var wg sync.WaitGroup
				for i := range 16 {
					wg.Go(func() {
						for j := range 5 {
							var n int
							if err := db.QueryRowContext(ctx, "SELECT $1::int", i).Scan(&n); err != nil || n != i {
								t.Errorf("got %d, %v", n, err)
							}
							if _, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ($1)", fmt.Sprint(i, j)); err != nil {
								t.Error(err)
							}
							err := db.Tx(ctx, nil, func(ctx context.Context) error {
								_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ('never')")
								return errors.Join(err, errApp)
							})
							if !errors.Is(err, errApp) {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				return nil
			}))
			check.Equal(t, one[int](t, t.Context(), sqlDB, "SELECT count(*) FROM ledger WHERE entry <> 'never'"), 80)
			check.Equal(t, one[int](t, t.Context(), sqlDB, "SELECT count(*) FROM ledger"), 80)
		})
		t.Run(driverName+": what is in the way is told with its line", func(t *testing.T) {
			t.Parallel()
			_, db := ledger(t, driverName, session.WithPatience(time.Millisecond))
			names := func(err error) {
				t.Helper()
				is(t, err, session.ErrBusy)
				if !strings.Contains(err.Error(), "session/tx_test.go:") {
					t.Errorf("%v names no line", err)
				}
			}
			check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
				rows, err := db.QueryContext(ctx, "SELECT 1")
				check.OK(t, err)
				_, err = db.ExecContext(ctx, "SELECT 1")
				names(err)
				names(db.Tx(ctx, nil, func(context.Context) error { return nil }))
				check.OK(t, rows.Close())
				row := db.QueryRowContext(ctx, "SELECT 1")
				names(db.QueryRowContext(ctx, "SELECT 1").Err())
				check.OK(t, row.Scan(new(int)))
				return db.Tx(ctx, nil, func(context.Context) error {
					_, err := db.ExecContext(ctx, "SELECT 1") // the outer context, by mistake
					names(err)
					return nil
				})
			}))
		})
		t.Run(driverName+": what a nested one has done by halves is not committed", func(t *testing.T) {
			t.Parallel()
			for _, within := range []string{"the transaction", "a nested one"} {
				sqlDB, db := ledger(t, driverName)
				begun, proceed, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
				forgets := func(ctx context.Context) error {
					go func() {
						over <- db.Tx(ctx, nil, func(ctx context.Context) error {
							enter(t, ctx, db, "half")
							close(begun)
							<-proceed
							_, err := db.ExecContext(context.WithoutCancel(ctx), "INSERT INTO ledger VALUES ('rest')")
							return err
						})
					}()
					<-begun
					return nil
				}
				want := ""
				if within == "the transaction" {
					err := db.Tx(t.Context(), nil, forgets)
					is(t, err, session.ErrBusy)
					is(t, err, session.ErrRolledBack)
					close(proceed)
					is(t, <-over, session.ErrEnded)
				} else {
					want = "outer"
					check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
						is(t, db.Tx(ctx, nil, forgets), session.ErrBusy)
						close(proceed)
						is(t, <-over, session.ErrEnded)
						enter(t, ctx, db, "outer")
						return nil
					}))
				}
				check.Equal(t, entries(t, sqlDB), want)
			}
		})
		t.Run(driverName+": rows that are left open hold up its end no longer than its context lasts", func(t *testing.T) {
			t.Parallel()
			for _, nested := range []bool{false, true} {
				sqlDB, db := ledger(t, driverName)
				admin := pgtest.Shared(t).Admin(t)
				ctx, cancel := context.WithCancel(t.Context())
				var pid int
				// Nobody waits for so many rows, and the server sends them until it is told not to.
				endless := func(ctx context.Context) error {
					pid = backend(t, ctx, db)
					_, err := db.QueryContext(ctx, "SELECT repeat('x', 1000), generate_series(1, 1000000000000)") //nolint:rowserrcheck,sqlclosecheck // left open
					return err
				}
				left, over := make(chan struct{}), make(chan error, 1)
				leaves := func(ctx context.Context) error {
					defer close(left)
					return endless(ctx)
				}
				go func() {
					over <- db.Tx(ctx, nil, func(ctx context.Context) error {
						if nested {
							return db.Tx(ctx, nil, leaves)
						}
						return leaves(ctx)
					})
				}()
				<-left
				cancel()
				is(t, <-over, context.Canceled)
				pgtest.Eventually(t, "the server has stopped", func() bool {
					var active int
					check.OK(t, admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active'", pid).Scan(&active))
					return active == 0
				})
				allBack(t, sqlDB)
			}
		})
		t.Run(driverName+": rows that are left open are no obstacle to its end", func(t *testing.T) {
			t.Parallel()
			sqlDB, db := ledger(t, driverName)
			check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
				check.OK(t, db.Tx(ctx, nil, func(ctx context.Context) error {
					enter(t, ctx, db, "1")
					_, err := db.QueryContext(ctx, "SELECT generate_series(1, 100000)")
					return err
				}))
				is(t, db.Tx(ctx, nil, func(ctx context.Context) error {
					enter(t, ctx, db, "2")
					_, err := db.QueryContext(ctx, "SELECT generate_series(1, 100)")
					check.OK(t, err)
					return errApp
				}), errApp)
				enter(t, ctx, db, "3")
				_, err := db.QueryContext(ctx, "SELECT generate_series(1, 100000)")
				return err
			}))
			check.Equal(t, entries(t, sqlDB), "1 3")
			allBack(t, sqlDB)
		})
	}
	t.Run("it has the session's connection, and one of its own while that is busy", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := ledger(t, "pgsafe", session.WithLinger(forLong))
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			first := backend(t, ctx, db)
			check.OK(t, db.Tx(ctx, nil, func(ctx context.Context) error { check.Equal(t, backend(t, ctx, db), first); return nil }))
			rows, err := db.QueryContext(ctx, "SELECT 1")
			check.OK(t, err)
			check.OK(t, db.Tx(ctx, nil, func(ctx context.Context) error {
				check.Equal(t, backend(t, ctx, db) != first, true)
				return nil
			}))
			check.OK(t, rows.Close())
			check.Equal(t, backend(t, ctx, db), first)
			return nil
		}))
		allBack(t, sqlDB)
	})
	t.Run("it tells on which line it began to a statement of its session that needs the connection", func(t *testing.T) {
		t.Parallel()
		_, db := ledger(t, "pgsafe", session.WithPatience(time.Millisecond))
		const leaves = "SET app.x = '1'"
		for _, before := range []string{"SELECT 1", leaves} {
			check.OK(t, db.Do(t.Context(), func(outer context.Context) error {
				exec(t, outer, db, before)
				return db.Tx(outer, nil, func(context.Context) error {
					_, err := db.ExecContext(outer, leaves) // the outer context, by mistake
					is(t, err, session.ErrBusy)
					if !strings.Contains(err.Error(), "the transaction opened at session/tx_test.go:") {
						t.Errorf("%v names no line", err)
					}
					if before == leaves {
						is(t, db.Tx(outer, nil, func(context.Context) error { return nil }), session.ErrBusy)
					}
					return nil
				})
			}))
		}
	})
	t.Run("begun in place of a lost connection, it knows that its COMMIT became a ROLLBACK", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := ledger(t, "pgsafe", session.WithLinger(forLong))
		admin := pgtest.Shared(t).Admin(t)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			_, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend($1, 10000)", backend(t, ctx, db))
			check.OK(t, err)
			err = db.Tx(ctx, nil, func(ctx context.Context) error {
				enter(t, ctx, db, "1")
				_, _ = db.ExecContext(ctx, "SELECT 1/0")
				return nil
			})
			is(t, err, session.ErrRolledBack)
			check.Equal(t, errors.Is(err, session.ErrCommitUnknown), false)
			return nil
		}))
		check.Equal(t, entries(t, sqlDB), "")
		allBack(t, sqlDB)
	})
	t.Run("options: isolation, read only, also of a nested one", func(t *testing.T) {
		t.Parallel()
		_, db := ledger(t, "pgsafe")
		serializable := &session.TxOptions{Isolation: sql.LevelSerializable}
		check.OK(t, db.Tx(t.Context(), serializable, func(ctx context.Context) error {
			check.Equal(t, one[string](t, ctx, db, "SHOW transaction_isolation"), "serializable")
			check.OK(t, db.Tx(ctx, serializable, func(context.Context) error { return nil }))
			err := db.Tx(ctx, &session.TxOptions{Isolation: sql.LevelReadCommitted}, func(context.Context) error { return nil })
			check.Equal(t, err != nil, true)
			for _, fails := range []bool{true, false} {
				err := db.Tx(ctx, &session.TxOptions{ReadOnly: true}, func(ctx context.Context) error {
					check.Equal(t, one[string](t, ctx, db, "SHOW transaction_read_only"), "on")
					if fails {
						return errApp
					}
					return nil
				})
				check.Equal(t, err != nil, fails)
				enter(t, ctx, db, "1")
			}
			return nil
		}))
		err := db.Tx(t.Context(), &session.TxOptions{ReadOnly: true}, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ('2')")
			return err
		})
		check.Equal(t, pgsafe.SQLState(err), "25006")
	})
	t.Run("the server is told the deadline, and the next transaction has none", func(t *testing.T) {
		t.Parallel()
		_, db := ledger(t, "pgsafe", session.WithStatementTimeout())
		const limit = "SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'"
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		check.OK(t, db.Tx(ctx, nil, func(ctx context.Context) error {
			ms := one[int](t, ctx, db, limit)
			check.Equal(t, ms > 0 && ms <= int(time.Hour.Milliseconds()), true)
			return nil
		}))
		check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error { check.Equal(t, one[int](t, ctx, db, limit), 0); return nil }))
	})
	t.Run("BeginTx within Tx is refused", func(t *testing.T) {
		t.Parallel()
		_, db := ledger(t, "pgsafe")
		check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
			_, err := db.BeginTx(ctx, nil)
			is(t, err, session.ErrNested)
			return nil
		}))
	})
	t.Run("a goroutine that outlives it is told so", func(t *testing.T) {
		t.Parallel()
		_, db := ledger(t, "pgsafe")
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			var late context.Context
			check.OK(t, db.Tx(ctx, nil, func(ctx context.Context) error { late = ctx; return nil }))
			_, err := db.ExecContext(late, "SELECT 1")
			is(t, err, session.ErrEnded)
			is(t, db.QueryRowContext(context.WithoutCancel(late), "SELECT 1").Err(), session.ErrEnded)
			exec(t, ctx, db, "SELECT 1")
			return nil
		}))
	})
}

func TestRetries(t *testing.T) {
	t.Run("a counter of 8 goroutines is right, and the retries are counted", func(t *testing.T) {
		t.Parallel()
		r := newRecorder(t)
		sqlDB, db := ledger(t, "pgsafe", r.options()...)
		exec(t, t.Context(), sqlDB, "CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)")
		opts := &session.TxOptions{Isolation: sql.LevelSerializable, Retries: 1000}
		var again atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					err := db.Tx(t.Context(), opts, func(ctx context.Context) error {
						if session.Attempt(ctx) > 1 {
							again.Add(1)
						}
						var n int
						if err := db.QueryRowContext(ctx, "SELECT n FROM counter").Scan(&n); err != nil {
							return err
						}
						_, err := db.ExecContext(ctx, "UPDATE counter SET n = $1", n+1)
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		check.Equal(t, one[int](t, t.Context(), sqlDB, "SELECT n FROM counter"), 80)
		t.Logf("80 transactions, %d retries", again.Load())
		check.Equal(t, int(again.Load()) > 0, true)
		check.Equal(t, r.sum("pgsafe.transaction.retries"), int(again.Load()))
		check.Equal(t, len(r.events("pgsafe.transaction.retry")), int(again.Load()))
	})
	t.Run("transfers that lock in any order keep the sum", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, with(pgtest.Shared(t).Database(t), "options=-c%20deadlock_timeout%3D10ms"))
		db := session.Wrap(sqlDB)
		exec(t, t.Context(), sqlDB, "CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account SELECT i, 100 FROM generate_series(0, 3) i")
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := range 10 {
					from, to := (worker+i)%4, (worker+3*i+1)%4
					err := db.Tx(t.Context(), &session.TxOptions{Retries: 1000}, func(ctx context.Context) error {
						_, err := db.ExecContext(ctx, "UPDATE account SET balance = balance - 1 WHERE id = $1", from)
						if err != nil {
							return err
						}
						return db.Tx(ctx, nil, func(ctx context.Context) error {
							_, err := db.ExecContext(ctx, "UPDATE account SET balance = balance + 1 WHERE id = $1", to)
							return err
						})
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		check.Equal(t, one[int](t, t.Context(), sqlDB, "SELECT sum(balance) FROM account"), 400)
	})
	t.Run("only the outermost runs again, as often as it is allowed", func(t *testing.T) {
		t.Parallel()
		_, db := ledger(t, "pgsafe")
		outer, inner := 0, 0
		err := db.Tx(t.Context(), &session.TxOptions{Retries: 2}, func(ctx context.Context) error {
			outer++
			check.Equal(t, session.Attempt(ctx), outer)
			return db.Tx(ctx, &session.TxOptions{Retries: 5}, func(ctx context.Context) error {
				inner++
				_, err := db.ExecContext(ctx, "DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '40001'; END $$")
				return err
			})
		})
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindSerialization)
		check.Equal(t, outer, 3)
		check.Equal(t, inner, 3)
	})
	t.Run("a conflict that the function swallowed is found at COMMIT", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := ledger(t, "pgsafe")
		check.OK(t, db.Tx(t.Context(), &session.TxOptions{Retries: 1}, func(ctx context.Context) error {
			enter(t, ctx, db, fmt.Sprint(session.Attempt(ctx)))
			if session.Attempt(ctx) == 1 {
				_, _ = db.ExecContext(ctx, "DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '40001'; END $$")
			}
			return nil
		}))
		check.Equal(t, entries(t, sqlDB), "2")
	})
}

// TestCommitUnknown breaks the connection while the server is in the middle of a COMMIT: a deferred trigger tells when.
func TestCommitUnknown(t *testing.T) {
	// setUp returns a database behind a proxy, in which COMMIT waits for a lock that the returned connection has.
	setUp := func(t *testing.T, opts ...session.Option) (*session.DB, *pgtest.Proxy, *pgx.Conn) {
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		config, err := pgx.ParseConfig(uri)
		check.OK(t, err)
		admin := cluster.AdminIn(t, config.Database)
		_, err = admin.Exec(t.Context(), `CREATE TABLE ledger (entry text);
			CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
			CREATE CONSTRAINT TRIGGER late AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold();
			SELECT pg_advisory_lock(1)`)
		check.OK(t, err)
		proxy := pgtest.NewProxy(t, cluster)
		return session.Wrap(open(t, proxy.URI(config.Database)), opts...), proxy, admin
	}
	// waiting returns when a COMMIT waits for the lock.
	waiting := func(t *testing.T, admin *pgx.Conn) (pid int) {
		pgtest.Eventually(t, "COMMIT waits", func() bool {
			return admin.QueryRow(t.Context(), `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&pid) == nil
		})
		return pid
	}
	run := func(t *testing.T, db *session.DB) <-chan error {
		done := make(chan error, 1)
		go func() {
			done <- db.Tx(t.Context(), &session.TxOptions{Retries: 3}, func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ($1)", fmt.Sprint(session.Attempt(ctx)))
				return err
			})
		}()
		return done
	}
	unlock := func(t *testing.T, admin *pgx.Conn) {
		_, err := admin.Exec(t.Context(), "SELECT pg_advisory_unlock(1)")
		check.OK(t, err)
	}
	written := func(t *testing.T, admin *pgx.Conn) (n int, first string) {
		check.OK(t, admin.QueryRow(t.Context(), "SELECT count(*), coalesce(min(entry), '') FROM ledger").Scan(&n, &first))
		return n, first
	}
	t.Run("it is an error of its own, and the function does not run again", func(t *testing.T) {
		t.Parallel()
		db, proxy, admin := setUp(t)
		done := run(t, db)
		waiting(t, admin)
		proxy.Cut()
		is(t, <-done, session.ErrCommitUnknown)
		unlock(t, admin)
	})
	t.Run("a server that ends the connection leaves it open too", func(t *testing.T) {
		t.Parallel()
		db, _, admin := setUp(t)
		done := run(t, db)
		_, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend($1)", waiting(t, admin))
		check.OK(t, err)
		is(t, <-done, session.ErrCommitUnknown)
	})
	t.Run("the server is asked, and it was committed", func(t *testing.T) {
		t.Parallel()
		db, proxy, admin := setUp(t, session.WithCommitCheck(time.Minute))
		done := run(t, db)
		waiting(t, admin)
		proxy.Hang() // so that pgx's cancel request for the broken connection (pgconn, PgConn.asyncClose) comes too late
		proxy.Cut()
		unlock(t, admin)
		pgtest.Eventually(t, "it is committed", func() bool { n, _ := written(t, admin); return n == 1 })
		proxy.Flow()
		check.OK(t, <-done)
		n, first := written(t, admin)
		check.Equal(t, n, 1)
		check.Equal(t, first, "1")
	})
	t.Run("the server is asked, it was rolled back, and the function runs again", func(t *testing.T) {
		t.Parallel()
		db, _, admin := setUp(t, session.WithCommitCheck(time.Minute))
		done := run(t, db)
		_, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend($1)", waiting(t, admin))
		check.OK(t, err)
		unlock(t, admin)
		check.OK(t, <-done)
		n, first := written(t, admin)
		check.Equal(t, n, 1)
		check.Equal(t, first, "2")
	})
}
