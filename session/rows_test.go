package session_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// TestRows is about the rows of queries outside of transactions.
func TestRows(t *testing.T) {
	// ends are what can end a query's context.
	ends := map[string]struct {
		err error
		run func(t *testing.T, db *session.DB, f func(ctx context.Context)) error
	}{
		"its session's end": {session.ErrEnded, func(t *testing.T, db *session.DB, f func(context.Context)) error {
			return db.Do(t.Context(), func(ctx context.Context) error { f(ctx); return nil })
		}},
		"a cancelled context": {context.Canceled, func(t *testing.T, db *session.DB, f func(context.Context)) error {
			ctx, cancel := context.WithCancel(t.Context())
			return db.Do(ctx, func(ctx context.Context) error { f(ctx); cancel(); allBack(t, db.Unwrap()); return nil })
		}},
		"a deadline": {context.DeadlineExceeded, func(t *testing.T, db *session.DB, f func(context.Context)) error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return db.Do(ctx, func(ctx context.Context) error { f(ctx); <-ctx.Done(); allBack(t, db.Unwrap()); return nil })
		}},
	}
	for what, end := range ends {
		for _, driverName := range drivers {
			t.Run(driverName+": rows that are closed by "+what+" say so, and do not seem to be at their end", func(t *testing.T) {
				t.Parallel()
				sqlDB := openWith(t, driverName, pgtest.Shared(t).Database(t))
				var rows *sql.Rows
				before := backend(t, t.Context(), sqlDB)
				check.OK(t, end.run(t, session.Wrap(sqlDB, session.WithLinger(0)), func(ctx context.Context) {
					var err error
					rows, err = sessionOf(ctx).QueryContext(ctx, "SELECT generate_series(1, 3)")
					check.OK(t, err)
					check.Equal(t, rows.Next(), true)
				}))
				allBack(t, sqlDB)
				check.Equal(t, rows.Next(), false)
				is(t, rows.Err(), end.err)
				check.OK(t, rows.Close())
				if after := backend(t, t.Context(), sqlDB); driverName == pgsafe.DriverName && after != before {
					t.Error("the connection is lost")
				}
			})
			t.Run(driverName+": a row that is closed by "+what+" says so", func(t *testing.T) {
				t.Parallel()
				sqlDB := openWith(t, driverName, pgtest.Shared(t).Database(t))
				var row *sql.Row
				check.OK(t, end.run(t, session.Wrap(sqlDB, session.WithLinger(0)), func(ctx context.Context) {
					row = sessionOf(ctx).QueryRowContext(ctx, "SELECT 1")
					check.OK(t, row.Err())
				}))
				allBack(t, sqlDB)
				is(t, row.Scan(new(int)), end.err)
			})
		}
	}
	t.Run("rows that were read to their end are no error, though their context ends", func(t *testing.T) {
		t.Parallel()
		db := session.Wrap(open(t, pgtest.Shared(t).Database(t)))
		ctx, cancel := context.WithCancel(t.Context())
		check.OK(t, db.Do(ctx, func(ctx context.Context) error {
			rows, err := db.QueryContext(ctx, "SELECT generate_series(1, 3)")
			check.OK(t, err)
			for range 3 {
				check.Equal(t, rows.Next(), true)
			}
			check.Equal(t, rows.Next(), false)
			cancel()
			check.OK(t, rows.Close())
			return rows.Err()
		}))
	})
}

// TestRunningQueries is about queries that run when their context ends.
func TestRunningQueries(t *testing.T) {
	const (
		silent   = "SELECT pg_sleep(60)"
		halfDone = "SELECT repeat('x', 100000), CASE WHEN i > 1 THEN pg_sleep(60) END FROM generate_series(1, 2) AS i"
	)
	for what, params := range map[string]string{
		"":                                 "pgsafe_cancel_timeout=1m", // more than a busy machine takes to cancel
		" at once":                         "pgsafe_cancel_timeout=0",
		" on a native connection of pgx's": "pgsafe_conn=native",
	} {
		for until, query := range map[string]string{"has no rows yet": silent, "has one row": halfDone} {
			t.Run("a query that "+until+" is cancelled"+what+" when its session's context ends", func(t *testing.T) {
				t.Parallel()
				sqlDB := open(t, with(pgtest.Shared(t).Database(t), params))
				db := session.Wrap(sqlDB, session.WithLinger(forLong))
				ctx, cancel := context.WithCancel(t.Context())
				var before int
				check.OK(t, db.Do(ctx, func(ctx context.Context) error {
					before = backend(t, ctx, db)
					stop := cancelWhenItRuns(t, sqlDB, before, cancel)
					is(t, readAll(ctx, db, query), context.Canceled)
					return stop()
				}))
				allBack(t, sqlDB)
				if after := backend(t, t.Context(), sqlDB); what == "" && after != before {
					t.Error("the connection is lost")
				}
			})
		}
	}
	t.Run("one that runs when its session ends, says so", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, pgtest.Shared(t).Database(t))
		db := session.Wrap(sqlDB, session.WithLinger(forLong))
		ran := make(chan error, 2)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			pid := backend(t, ctx, db)
			go func() { ran <- readAll(ctx, db, silent) }()
			running(t, sqlDB, pid)
			go func() { ran <- readAll(ctx, db, halfDone) }()
			pgtest.Eventually(t, "both run", func() bool { return sqlDB.Stats().InUse == 2 })
			return nil
		}))
		is(t, <-ran, session.ErrEnded)
		is(t, <-ran, session.ErrEnded)
		allBack(t, sqlDB)
	})
	t.Run("a context that has ended already sends nothing", func(t *testing.T) {
		t.Parallel()
		sqlDB := open(t, pgtest.Shared(t).Database(t))
		exec(t, t.Context(), sqlDB, "CREATE SEQUENCE calls")
		db := session.Wrap(sqlDB, session.WithLinger(forLong))
		ctx, cancel := context.WithCancel(t.Context())
		check.OK(t, db.Do(ctx, func(ctx context.Context) error {
			exec(t, ctx, db, "SELECT 1") // it has a connection
			cancel()
			is(t, readAll(ctx, db, "SELECT nextval('calls')"), context.Canceled)
			is(t, db.QueryRowContext(ctx, "SELECT nextval('calls')").Scan(new(int)), context.Canceled)
			return nil
		}))
		check.Equal(t, one[int](t, t.Context(), sqlDB, "SELECT nextval('calls')"), 1)
	})
}

// TestLayer is about a driver of somebody else's around ours, which answers with our Driver.
func TestLayer(t *testing.T) {
	wrap := func(t *testing.T, l *layer) (*sql.DB, *session.DB) {
		c, err := pgsafe.NewConnector(pgtest.Shared(t).Database(t))
		check.OK(t, err)
		t.Cleanup(func() { check.OK(t, c.Close()) })
		l.Connector = c
		sqlDB := sql.OpenDB(l)
		t.Cleanup(func() { check.OK(t, sqlDB.Close()) })
		return sqlDB, session.Wrap(sqlDB, session.WithLinger(forLong))
	}
	t.Run("one that has contexts of its own is noticed", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := wrap(t, &layer{derive: func(ctx context.Context) context.Context { return context.WithValue(ctx, layerKey{}, true) }})
		for range 3 {
			check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
				rows, err := db.QueryContext(ctx, "SELECT generate_series(1, 3)")
				check.OK(t, err)
				n := 0
				for rows.Next() {
					n++
				}
				check.Equal(t, n, 3)
				check.OK(t, rows.Err())
				check.Equal(t, one[int](t, ctx, db, "SELECT 1"), 1)
				_, err = db.QueryContext(ctx, "SELECT 1") //nolint:rowserrcheck,sqlclosecheck // is left open
				return err
			}))
			allBack(t, sqlDB)
		}
	})
	t.Run("a query that is ended when it has rows, and before it returns them, ends its turn once", func(t *testing.T) {
		t.Parallel()
		l := &layer{}
		sqlDB, db := wrap(t, l)
		ctx, cancel := context.WithCancel(t.Context())
		pprof.Do(ctx, pprof.Labels("test", t.Name()), func(ctx context.Context) {
			check.OK(t, db.Do(ctx, func(ctx context.Context) error {
				next := make(chan error, 1)
				var rows *sql.Rows
				apart := context.WithoutCancel(ctx)
				var called atomic.Bool
				l.queried = func() {
					if called.Swap(true) {
						return
					}
					_, err := db.QueryContext(ctx, "SELECT 2") //nolint:rowserrcheck,sqlclosecheck // the session closes them
					check.OK(t, err)
					go func() {
						var err error
						rows, err = db.QueryContext(apart, "SELECT set_config('a.b', 'c', false), generate_series(1, 100000)") //nolint:rowserrcheck // is not read
						next <- err
					}()
					pgtest.Eventually(t, "the next one waits for its turn", func() bool { return goroutineIn(t, "session.(*turn).wait") })
					check.Equal(t, sqlDB.Stats().InUse, 2)
					cancel()
					pgtest.Eventually(t, "the session has ended what is open, the latest last", func() bool { return sqlDB.Stats().InUse == 1 })
				}
				is(t, db.QueryRowContext(ctx, "SELECT 1").Scan(new(int)), context.Canceled)
				check.OK(t, <-next)
				_, err := db.ExecContext(apart, "SET a.b = 'd'")
				is(t, err, session.ErrBusy) // it is the next one's turn
				return rows.Close()
			}))
		})
		allBack(t, sqlDB)
	})
}

type layerKey struct{}

// layer is that driver's Connector.
type layer struct {
	*pgsafe.Connector
	derive  func(ctx context.Context) context.Context // what queries run with, as they are if nil
	queried func()                                    // called when a query has rows; may be nil
}

func (l *layer) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := l.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return layerConn{conn.(*pgsafe.Conn), l}, nil
}

type layerConn struct {
	*pgsafe.Conn
	layer *layer
}

func (c layerConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c.layer.derive != nil {
		ctx = c.layer.derive(ctx)
	}
	rows, err := c.Conn.QueryContext(ctx, query, args)
	if err == nil && c.layer.queried != nil {
		c.layer.queried()
	}
	return rows, err
}

// sessionOf is the handle of the session of ctx.
func sessionOf(ctx context.Context) *session.DB {
	db, _ := session.From(ctx)
	return db
}

// readAll runs a query, and reads its rows.
func readAll(ctx context.Context, db *session.DB, query string) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return rows.Err()
}

// goroutineIn tells whether a goroutine of this test, by its label, is in a function.
func goroutineIn(t *testing.T, function string) bool {
	t.Helper()
	var profile bytes.Buffer
	check.OK(t, pprof.Lookup("goroutine").WriteTo(&profile, 1))
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(group, function) && strings.Contains(group, t.Name()) {
			return true
		}
	}
	return false
}

// cancelWhenItRuns calls cancel when a statement runs on a backend. Its result waits for that.
func cancelWhenItRuns(t *testing.T, sqlDB *sql.DB, pid int, cancel func()) (wait func() error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		running(t, sqlDB, pid)
		cancel()
	}()
	return func() error { <-done; return nil }
}

// running waits until a statement sleeps on a backend.
func running(t *testing.T, sqlDB *sql.DB, pid int) {
	t.Helper()
	pgtest.Eventually(t, "it runs", func() bool {
		return one[int](t, t.Context(), sqlDB, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'", pid) == 1
	})
}
