package session_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// forLong is a linger that does not pass while a test runs.
const forLong = time.Hour

func with(uri, parameters string) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	return uri + separator + parameters
}

// drivers are a pgsafe one, whose pool tells who waits, and another.
var drivers = []string{"pgsafe", "pgx"}

func TestHold(t *testing.T) {
	for _, driverName := range drivers {
		t.Run(driverName+": the statements of a session make one checkout", func(t *testing.T) {
			t.Parallel()
			r := newRecorder(t)
			sqlDB := openWith(t, driverName, pgtest.Shared(t).Database(t))
			db := session.Wrap(sqlDB, append(r.options(), session.WithLinger(forLong))...)
			check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
				first := backend(t, ctx, db)
				check.Equal(t, sqlDB.Stats().InUse, 1)
				for range 4 {
					check.Equal(t, backend(t, ctx, db), first)
				}
				return nil
			}))
			check.Equal(t, sqlDB.Stats().InUse, 0)
			check.Equal(t, r.sum("pgsafe.session.statements"), 5)
			check.Equal(t, r.sum("pgsafe.session.checkouts"), 1)
		})
		t.Run(driverName+": a session without a statement takes no connection", func(t *testing.T) {
			t.Parallel()
			sqlDB := openWith(t, driverName, pgtest.Shared(t).Database(t))
			db := session.Wrap(sqlDB)
			check.OK(t, db.Do(t.Context(), func(context.Context) error { return nil }))
			check.Equal(t, sqlDB.Stats().OpenConnections, 0)
		})
		t.Run(driverName+": an unused connection is given back after the linger", func(t *testing.T) {
			t.Parallel()
			sqlDB := openWith(t, driverName, pgtest.Shared(t).Database(t))
			db := session.Wrap(sqlDB, session.WithLinger(time.Millisecond))
			check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
				exec(t, ctx, db, "SELECT 1")
				allBack(t, sqlDB)
				exec(t, ctx, db, "SELECT 1")
				return nil
			}))
		})
		t.Run(driverName+": a session that does nothing does not keep another from its statement", func(t *testing.T) {
			t.Parallel()
			sqlDB := openWith(t, driverName, pgtest.Shared(t).Database(t))
			sqlDB.SetMaxOpenConns(1)
			db := session.Wrap(sqlDB, session.WithLinger(forLong))
			check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
				exec(t, ctx, db, "SELECT 1")
				return db.Do(session.Detach(ctx), func(ctx context.Context) error {
					exec(t, ctx, db, "SELECT 1")
					return nil
				})
			}))
		})
	}
	t.Run("a caller who waits in the physical pool gets an unused connection at once", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		db := session.Wrap(sqlDB, session.WithLinger(forLong))
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			exec(t, ctx, db, "SELECT 1")
			check.Equal(t, sqlDB.Stats().InUse, 1)
			exec(t, t.Context(), sqlDB, "SELECT 1") // plain code that knows of no session
			check.Equal(t, sqlDB.Stats().InUse, 0)
			exec(t, ctx, db, "SELECT 1")
			return nil
		}))
	})
	t.Run("a caller who waits gets a connection whose rows have been closed", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		db := session.Wrap(sqlDB, session.WithLinger(forLong))
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			rows, err := db.QueryContext(ctx, "SELECT 1")
			check.OK(t, err)
			waiting := make(chan error)
			go func() {
				_, err := sqlDB.ExecContext(t.Context(), "SELECT 1")
				waiting <- err
			}()
			pgtest.Eventually(t, "it waits", func() bool { return sqlDB.Driver().(interface{ Waiting() bool }).Waiting() })
			check.OK(t, rows.Close())
			check.OK(t, <-waiting)
			return nil
		}))
	})
	t.Run("statements without settings do not have those of one before", func(t *testing.T) {
		t.Parallel()
		db := session.Wrap(open(t, pgtest.Shared(t).Database(t)), session.WithLinger(forLong))
		const tenant = "SELECT coalesce(current_setting('app.tenant', true), '')"
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			set := session.WithSettings(ctx, map[string]string{"app.tenant": "1"})
			check.Equal(t, one[string](t, set, db, tenant), "1")
			check.Equal(t, one[string](t, ctx, db, tenant), "")
			check.Equal(t, one[string](t, set, db, tenant), "1")
			return nil
		}))
	})
	t.Run("a connection that carries state is kept, and is clean for the next", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		db := session.Wrap(sqlDB, session.WithLinger(time.Nanosecond), session.WithPatience(time.Millisecond))
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			exec(t, ctx, db, "SET search_path = pg_temp")
			short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			_, err := sqlDB.ExecContext(short, "SELECT 1")
			is(t, err, context.DeadlineExceeded)
			check.Equal(t, one[string](t, ctx, db, "SHOW search_path"), "pg_temp")

			rows, err := db.QueryContext(ctx, "SELECT 1")
			check.OK(t, err)
			_, err = db.ExecContext(ctx, "SELECT 1")
			is(t, err, session.ErrBusy)
			check.OK(t, rows.Close())
			exec(t, ctx, db, "SELECT 1")
			return nil
		}))
		check.Equal(t, one[string](t, t.Context(), sqlDB, "SHOW search_path"), `"$user", public`)
	})
	t.Run("a statement that finds the connection dead runs on another", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		for _, driverName := range drivers {
			db := session.Wrap(openWith(t, driverName, uri), session.WithLinger(forLong))
			admin := cluster.Admin(t)
			check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
				kill := func() {
					_, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend($1, 10000)", backend(t, ctx, db))
					check.OK(t, err)
				}
				if driverName == "pgsafe" { // pgx tells of it as of a statement that may have run
					kill()
					_, err := db.ExecContext(ctx, "SELECT $1::int", 1)
					check.OK(t, err)
					kill()
					rows, err := db.QueryContext(ctx, "SELECT $1::int", 1)
					check.OK(t, err)
					check.OK(t, rows.Close())
					kill()
					check.Equal(t, one[int](t, ctx, db, "SELECT $1::int", 1), 1)
					kill()
					check.OK(t, db.Tx(ctx, nil, func(ctx context.Context) error {
						check.Equal(t, one[int](t, ctx, db, "SELECT $1::int", 1), 1)
						return nil
					}))
				}
				return nil
			}))
		}
	})
}

func TestOverflow(t *testing.T) {
	for _, driverName := range drivers {
		t.Run(driverName+": a statement while rows are open takes another connection", func(t *testing.T) {
			t.Parallel()
			sqlDB := openWith(t, driverName, pgtest.Shared(t).Database(t))
			db := session.Wrap(sqlDB, session.WithLinger(forLong))
			check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
				rows, err := db.QueryContext(ctx, "SELECT generate_series(1, 3)")
				check.OK(t, err)
				n := 0
				for rows.Next() {
					exec(t, ctx, db, "SELECT 1")
					n++
				}
				check.OK(t, rows.Err())
				check.Equal(t, n, 3)
				check.Equal(t, sqlDB.Stats().InUse, 1)
				before := backend(t, ctx, db)
				check.Equal(t, backend(t, ctx, db), before)
				return nil
			}))
			allBack(t, sqlDB)
		})
	}
	t.Run("64 goroutines of one session share a pool of 4", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=4"))
		db := session.Wrap(sqlDB)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			var wg sync.WaitGroup
			for i := range 64 {
				wg.Go(func() {
					for range 20 {
						var n int
						if err := db.QueryRowContext(ctx, "SELECT $1::int", i).Scan(&n); err != nil || n != i {
							t.Errorf("got %d, %v, want %d", n, err, i)
						}
					}
				})
			}
			wg.Wait()
			return nil
		}))
		allBack(t, sqlDB)
	})
}

func TestEnd(t *testing.T) {
	errApp := errors.New("the application's")
	// ways are how a function can end, having left something open.
	ways := map[string]func(ctx context.Context, db *session.DB, f func(ctx context.Context)) error{
		"return": func(ctx context.Context, db *session.DB, f func(context.Context)) error {
			return db.Do(ctx, func(ctx context.Context) error { f(ctx); return nil })
		},
		"error": func(ctx context.Context, db *session.DB, f func(context.Context)) error {
			err := db.Do(ctx, func(ctx context.Context) error { f(ctx); return errApp })
			if err != errApp { //nolint:errorlint // it must be the same
				return fmt.Errorf("the error is %w", err)
			}
			return nil
		},
		"panic": func(ctx context.Context, db *session.DB, f func(context.Context)) (err error) {
			defer func() {
				if r := recover(); r != "the application's" {
					err = fmt.Errorf("the panic is %v", r)
				}
			}()
			return db.Do(ctx, func(ctx context.Context) error { f(ctx); panic("the application's") })
		},
		"Goexit": func(ctx context.Context, db *session.DB, f func(context.Context)) error {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = db.Do(ctx, func(ctx context.Context) error { f(ctx); runtime.Goexit(); return nil })
			}()
			<-done
			return nil
		},
		"cancel": func(ctx context.Context, db *session.DB, f func(context.Context)) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return db.Do(ctx, func(ctx context.Context) error { f(ctx); cancel(); return nil })
		},
		"timeout": func(ctx context.Context, db *session.DB, f func(context.Context)) error {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			return db.Do(ctx, func(ctx context.Context) error { f(ctx); <-ctx.Done(); return nil })
		},
	}
	left := map[string]func(ctx context.Context, db *session.DB){
		"nothing": func(ctx context.Context, db *session.DB) { _, _ = db.ExecContext(ctx, "SELECT 1") },
		"rows": func(ctx context.Context, db *session.DB) {
			_, _ = db.QueryContext(ctx, "SELECT generate_series(1, 100000)")
		},
		"a row": func(ctx context.Context, db *session.DB) {
			_ = db.QueryRowContext(ctx, "SELECT generate_series(1, 100000)")
		},
		"rows of which some were read": func(ctx context.Context, db *session.DB) {
			if rows, err := db.QueryContext(ctx, "SELECT generate_series(1, 100000)"); err == nil {
				rows.Next()
			}
		},
		"raw bytes": func(ctx context.Context, db *session.DB) {
			if rows, err := db.QueryContext(ctx, "SELECT 'x'"); err == nil && rows.Next() {
				var b sql.RawBytes
				_ = rows.Scan(&b)
				rows.Next() // else nobody can close them, database/sql itself no more than we
			}
		},
		"rows of two": func(ctx context.Context, db *session.DB) {
			_, _ = db.QueryContext(ctx, "SELECT 1")
			_, _ = db.QueryContext(ctx, "SELECT 2")
		},
		"a statement":   func(ctx context.Context, db *session.DB) { _, _ = db.PrepareContext(ctx, "SELECT 1") },
		"a transaction": func(ctx context.Context, db *session.DB) { _, _ = db.BeginTx(ctx, nil) },
		"a transaction at work": func(ctx context.Context, db *session.DB) {
			if tx, err := db.BeginTx(ctx, nil); err == nil {
				_, _ = tx.ExecContext(ctx, "CREATE TABLE never (n int)")
			}
		},
		"rows in Tx": func(ctx context.Context, db *session.DB) {
			_ = db.Tx(ctx, nil, func(ctx context.Context) error { _, err := db.QueryContext(ctx, "SELECT 1"); return err })
		},
		"a goroutine": func(ctx context.Context, db *session.DB) {
			began := make(chan struct{})
			go func() {
				close(began)
				_, _ = db.ExecContext(ctx, "SELECT pg_sleep(30)")
			}()
			<-began
		},
	}
	for way, run := range ways {
		for what, leave := range left {
			t.Run(fmt.Sprintf("after a %s that leaves %s open every connection is back", way, what), func(t *testing.T) {
				t.Parallel()
				for _, driverName := range drivers {
					sqlDB := openWith(t, driverName, pgtest.Shared(t).Database(t))
					db := session.Wrap(sqlDB, session.WithLinger(forLong))
					check.OK(t, run(t.Context(), db, func(ctx context.Context) { leave(ctx, db) }))
					allBack(t, sqlDB)
					check.Equal(t, one[bool](t, t.Context(), sqlDB, "SELECT to_regclass('never') IS NULL"), true)
				}
			})
			t.Run(fmt.Sprintf("under load too after a %s that leaves %s open", way, what), func(t *testing.T) {
				t.Parallel()
				sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=2"))
				db := session.Wrap(sqlDB, session.WithLinger(forLong))
				stop := load(t, sqlDB)
				for range 5 {
					check.OK(t, run(t.Context(), db, func(ctx context.Context) {
						_, _ = db.ExecContext(ctx, "SELECT 1")
						leave(ctx, db)
					}))
				}
				stop()
				allBack(t, sqlDB)
				check.Equal(t, one[bool](t, t.Context(), sqlDB, "SELECT to_regclass('never') IS NULL"), true)
			})
		}
	}
	t.Run("what comes too late is told what has ended, by the line of its function", func(t *testing.T) {
		t.Parallel()
		db := session.Wrap(open(t, pgtest.Shared(t).Database(t)))
		var late lateComer
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error { return late.keep(ctx) }))
		check.Equal(t, late.told(db), "session: the session begun at "+lineBefore()+" has ended")
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			check.OK(t, db.Tx(ctx, nil, func(ctx context.Context) error { return late.keep(ctx) }))
			check.Equal(t, late.told(db), "session: the transaction begun at "+lineBefore()+" has ended")
			return nil
		}))
		check.OK(t, db.Batch(t.Context(), 1, 1, func(ctx context.Context, _, _ int) error { return late.keep(ctx) }))
		check.Equal(t, late.told(db), "session: the transaction begun at "+lineBefore()+" has ended")
		check.OK(t, db.Do(t.Context(), late.keep))
		check.Equal(t, late.told(db), "session: the session begun at session_test.(*lateComer).keep has ended")
	})
	t.Run("the error of a session that is over shows nothing of what ran in it", func(t *testing.T) {
		t.Parallel()
		db := session.Wrap(open(t, pgtest.Shared(t).Database(t)), newRecorder(t).options()...)
		late := lateComer{}
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			exec(t, ctx, db, "SELECT 'hunter2'")
			return late.keep(ctx)
		}))
		_, err := db.ExecContext(late.ctx, "SELECT 1")
		is(t, err, session.ErrEnded)
		if shown := fmt.Sprintf("%#v %+v", err, err); strings.Contains(shown, "hunter2") {
			t.Errorf("it shows %s", shown)
		}
	})
	t.Run("a session that is over is not kept", func(t *testing.T) {
		t.Parallel()
		db := session.Wrap(open(t, pgtest.Shared(t).Database(t)), session.WithLinger(forLong))
		type key struct{}
		collected := make(chan struct{})
		func() {
			value := new([64]byte)
			runtime.AddCleanup(value, func(struct{}) { close(collected) }, struct{}{})
			check.OK(t, db.Do(context.WithValue(t.Context(), key{}, value), func(ctx context.Context) error {
				exec(t, ctx, db, "SELECT 1")
				return nil
			}))
		}()
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			exec(t, ctx, db, "SELECT 1") // the driver keeps the context of a statement until the next
			return nil
		}))
		pgtest.Eventually(t, "its context is collected", func() bool {
			runtime.GC()
			select {
			case <-collected:
				return true
			default:
				return false
			}
		})
		runtime.KeepAlive(db)
	})
	for _, driverName := range drivers {
		t.Run(driverName+": what was left open is told with the line that opened it", func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			r := newRecorder(t)
			db := session.Wrap(openWith(t, driverName, pgtest.Shared(t).Database(t)),
				append(r.options(), session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))...)
			var want string
			check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
				_, err := db.QueryContext(ctx, "SELECT 1")
				want = lineBefore()
				check.OK(t, err)
				tx, err := db.BeginTx(ctx, nil)
				check.OK(t, err)
				check.OK(t, tx.Commit()) // is not left open
				return nil
			}))
			if !strings.Contains(log.String(), "what=rows opened="+want) || strings.Count(log.String(), "\n") != 1 {
				t.Errorf("the log is %q, and should name %s", log.String(), want)
			}
			check.Equal(t, r.sum("pgsafe.session.left_open"), 1)
		})
	}
	t.Run("a goroutine that goes on is told which session is over", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, pgtest.Shared(t).Database(t))
		db := session.Wrap(sqlDB)
		var late context.Context
		do := func() error { return db.Do(t.Context(), func(ctx context.Context) error { late = ctx; return nil }) }
		check.OK(t, do())
		_, err := db.ExecContext(late, "SELECT 1")
		is(t, err, session.ErrEnded)
		if !strings.Contains(err.Error(), "session/session_test.go:") {
			t.Errorf("%v does not name the line", err)
		}
		late = context.WithoutCancel(late)
		_, err = db.ExecContext(late, "SELECT 1")
		is(t, err, session.ErrEnded)
		_, err = db.QueryContext(late, "SELECT 1")
		is(t, err, session.ErrEnded)
		is(t, db.QueryRowContext(late, "SELECT 1").Scan(new(int)), session.ErrEnded)
		_, err = db.PrepareContext(late, "SELECT 1")
		is(t, err, session.ErrEnded)
		_, err = db.BeginTx(late, nil)
		is(t, err, session.ErrEnded)
		is(t, db.Tx(late, nil, func(context.Context) error { t.Error("it runs"); return nil }), session.ErrEnded)
		is(t, db.Do(late, func(context.Context) error { t.Error("it runs"); return nil }), session.ErrEnded)
		check.Equal(t, sqlDB.Stats().OpenConnections, 0)
	})
	t.Run("rows that are read when the session ends say so", func(t *testing.T) {
		t.Parallel()
		db := session.Wrap(open(t, pgtest.Shared(t).Database(t)))
		var rows *sql.Rows
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) (err error) {
			rows, err = db.QueryContext(context.WithoutCancel(ctx), "SELECT generate_series(1, 1000000)")
			check.OK(t, err)
			check.Equal(t, rows.Next(), true)
			return nil
		}))
		for rows.Next() { // some may be there already
		}
		is(t, rows.Err(), session.ErrEnded)
	})
	t.Run("detached work goes on", func(t *testing.T) {
		t.Parallel()
		db := session.Wrap(open(t, pgtest.Shared(t).Database(t)))
		type key struct{}
		var late context.Context
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Hour)
		check.OK(t, db.Do(ctx, func(ctx context.Context) error { late = session.Detach(ctx); return nil }))
		cancel()
		_, has := late.Deadline()
		check.Equal(t, has, false)
		check.Equal(t, late.Value(key{}), any("value"))
		_, ok := session.From(late)
		check.Equal(t, ok, false)
		check.Equal(t, one[int](t, late, db, "SELECT 1"), 1)
	})
}

// load has more callers than connections run statements, until stop is called.
func load(t *testing.T, sqlDB *sql.DB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = sqlDB.ExecContext(ctx, "SELECT 1")
			}
		})
	}
	eventuallyWaiting(t, sqlDB, 2)
	return func() { cancel(); wg.Wait() }
}

// lateComer keeps a context beyond its end.
type lateComer struct{ ctx context.Context }

func (l *lateComer) keep(ctx context.Context) error { l.ctx = ctx; return nil }

// told returns the error of a statement with that context.
func (l *lateComer) told(db *session.DB) string {
	_, err := db.ExecContext(l.ctx, "SELECT 1")
	if !errors.Is(err, session.ErrEnded) {
		return fmt.Sprintf("%v is not ErrEnded", err)
	}
	return err.Error()
}

// lineBefore names the line before the one that it is called from.
func lineBefore() string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("session/%s:%d", filepath.Base(file), line-1)
}

func TestFrom(t *testing.T) {
	uri := pgtest.Shared(t).Database(t)
	a, b := session.Wrap(open(t, uri)), session.Wrap(open(t, uri))
	_, ok := session.From(t.Context())
	check.Equal(t, ok, false)
	check.OK(t, a.Do(t.Context(), func(ctx context.Context) error {
		found, ok := session.From(ctx)
		check.Equal(t, ok && found == a, true)
		return a.Tx(ctx, nil, func(ctx context.Context) error {
			exec(t, ctx, a, "CREATE TABLE t (n int)")
			exec(t, ctx, b, "SELECT 1") // has a connection of its own
			check.Equal(t, one[bool](t, ctx, a, "SELECT to_regclass('t') IS NOT NULL"), true)
			check.Equal(t, one[bool](t, ctx, b, "SELECT to_regclass('t') IS NULL"), true)
			return b.Do(ctx, func(ctx context.Context) error {
				_, ok := session.From(ctx)
				check.Equal(t, ok, false) // which of the two?
				check.Equal(t, one[bool](t, ctx, b, "SELECT to_regclass('t') IS NULL"), true)
				check.Equal(t, session.Attempt(ctx), 1)
				return nil
			})
		})
	}))
}

func TestMiddleware(t *testing.T) {
	t.Run("a handler has a session, and its own ResponseWriter", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, pgtest.Shared(t).Database(t))
		db := session.Wrap(sqlDB, session.WithLinger(forLong))
		var late context.Context
		var gone *http.Request
		mux := http.NewServeMux()
		mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
			found, ok := session.From(r.Context())
			check.Equal(t, ok && found == db, true)
			first := backend(t, r.Context(), db)
			check.Equal(t, backend(t, r.Context(), db), first)
			_, flushes := w.(http.Flusher)
			_, hijacks := w.(http.Hijacker)
			check.Equal(t, flushes && hijacks, true)
			late, gone = context.WithoutCancel(r.Context()), r
		})
		srv := httptest.NewServer(db.Middleware(mux))
		defer srv.Close()
		res, err := http.Get(srv.URL + "/orders/4711")
		check.OK(t, err)
		check.OK(t, res.Body.Close())
		allBack(t, sqlDB)
		<-gone.Context().Done()
		_, err = db.ExecContext(late, "SELECT 1")
		is(t, err, session.ErrEnded)
		check.Equal(t, strings.Contains(err.Error(), "GET /orders/{id}") && !strings.Contains(err.Error(), "4711"), true)
	})
	t.Run("a handler that hijacks its connection and talks on holds none of the pool's", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, pgtest.Shared(t).Database(t))
		db := session.Wrap(sqlDB, session.WithLinger(time.Millisecond))
		srv := httptest.NewServer(db.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			exec(t, r.Context(), db, "SELECT 1")
			conn, _, err := w.(http.Hijacker).Hijack()
			check.OK(t, err)
			allBack(t, sqlDB)
			exec(t, r.Context(), db, "SELECT 1")
			_, _ = conn.Write([]byte("HTTP/1.0 204 No Content\r\n\r\n"))
			_ = conn.Close()
		})))
		defer srv.Close()
		res, err := http.Get(srv.URL)
		check.OK(t, err)
		check.Equal(t, res.StatusCode, http.StatusNoContent)
		check.OK(t, res.Body.Close())
	})
	t.Run("a handler that panics leaves nothing", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, pgtest.Shared(t).Database(t))
		db := session.Wrap(sqlDB, session.WithLinger(forLong))
		h := db.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = db.QueryContext(r.Context(), "SELECT 1")
			panic(http.ErrAbortHandler)
		}))
		func() {
			defer func() { check.Equal(t, recover(), any(http.ErrAbortHandler)) }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		}()
		allBack(t, sqlDB)
	})
}
