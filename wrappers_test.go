package pgsafe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// Layers wrap a driver.Conn to log or trace statements. Few of them pass on all that database/sql looks for. These are
// the kinds that are in use. A layer without Validator or SessionResetter hides where one use of a handle ends.

// layeredConn is what the better layers pass on.
type layeredConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
}

// hidesIsValid is a layer as those of DataDog, New Relic, nhatthm and uptrace.
type hidesIsValid struct {
	layeredConn
	driver.SessionResetter
}

func (l hidesIsValid) inner() driver.Conn { return l.layeredConn }

// hidesResetSession is a layer that passes IsValid on.
type hidesResetSession struct {
	layeredConn
	driver.Validator
}

func (l hidesResetSession) inner() driver.Conn { return l.layeredConn }

// hidesBoth is a layer as those of ocsql and sqlhooks.
type hidesBoth struct{ layeredConn }

func (l hidesBoth) inner() driver.Conn { return l.layeredConn }

// hidesAll is the thinnest layer. database/sql prepares each statement, and no BEGIN has a context.
type hidesAll struct{ driver.Conn }

func (l hidesAll) inner() driver.Conn { return l.Conn }

// layer is one kind.
type layer struct {
	name string
	wrap func(driver.Conn) driver.Conn

	throughOpen bool // it makes connections with driver.Driver.Open
	noBeginCtx  bool // its transactions begin without their context
}

var layers = []layer{
	{name: "that hides IsValid", wrap: func(c driver.Conn) driver.Conn {
		return hidesIsValid{c.(layeredConn), c.(driver.SessionResetter)}
	}},
	{name: "that hides ResetSession", wrap: func(c driver.Conn) driver.Conn {
		return hidesResetSession{c.(layeredConn), c.(driver.Validator)}
	}},
	{name: "that hides both", wrap: func(c driver.Conn) driver.Conn { return hidesBoth{c.(layeredConn)} }},
	{name: "that hides all that is optional", noBeginCtx: true, wrap: func(c driver.Conn) driver.Conn {
		return hidesAll{c}
	}},
	{name: "around Driver.Open", throughOpen: true, wrap: func(c driver.Conn) driver.Conn {
		return hidesBoth{c.(layeredConn)}
	}},
}

// layerConnector is a layer's connector.
type layerConnector struct {
	driver.Connector
	layer
}

func (l layerConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := l.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return l.wrap(conn), nil
}

func (l layerConnector) Close() error { return l.Connector.(io.Closer).Close() }

// openingConnector is the connector of a layer that knows drivers only.
type openingConnector struct {
	layer
	driver driver.Driver
	dsn    string
}

func (o openingConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := o.driver.Open(o.dsn)
	if err != nil {
		return nil, err
	}
	return o.wrap(conn), nil
}

func (o openingConnector) Driver() driver.Driver { return o.driver }

// layered is a database behind a layer.
type layered struct {
	*sql.DB
	layer
	uri string
	cap int // zero for none
}

// open opens a new database behind the layer.
func (l layer) open(t *testing.T, limit int) *layered {
	t.Helper()
	d := &layered{layer: l, uri: pgtest.Shared(t).Database(t), cap: limit}
	dsn := d.uri
	if limit > 0 {
		dsn = with(dsn, fmt.Sprintf("pool_max_conns=%d", limit))
	}
	if l.throughOpen {
		d.DB = sql.OpenDB(openingConnector{l, &pgsafe.Driver{}, dsn})
	} else {
		c, err := pgsafe.NewConnector(dsn)
		check.OK(t, err)
		d.DB = sql.OpenDB(layerConnector{c, l})
	}
	t.Cleanup(func() { check.OK(t, d.Close()) })
	return d
}

// layerTest is a test of a database behind a layer.
type layerTest = func(t *testing.T, db *layered)

// eachLayer runs f behind each layer, with several caps.
func eachLayer(t *testing.T, what string, f layerTest) {
	for _, l := range layers {
		for _, limit := range []int{0, 1, 4} {
			name := fmt.Sprintf("behind a layer %s, with a cap of %d, %s", l.name, limit, what)
			if limit == 0 {
				name = fmt.Sprintf("behind a layer %s, without a cap, %s", l.name, what)
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, l.open(t, limit))
			})
		}
	}
}

// soon bounds what must not hang.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

const ownPID = "select pg_backend_pid()"

func intOf(t testing.TB, q querier, query string, args ...any) (n int) {
	t.Helper()
	check.OK(t, q.QueryRowContext(soon(t), query, args...).Scan(&n))
	return n
}

// kill ends a backend and waits until it is gone.
func (w *watcher) kill(pid int) {
	w.t.Helper()
	check.OK(w.t, w.exec(fmt.Sprintf("select pg_terminate_backend(%d)", pid)))
	pgtest.Eventually(w.t, "the backend is gone", func() bool {
		var n int
		check.OK(w.t, w.conn.QueryRow(w.t.Context(), "select count(*) from pg_stat_activity where pid = $1", pid).Scan(&n))
		return n == 0
	})
}

func TestLayersAndLostConnections(t *testing.T) {
	eachLayer(t, "a connection that is killed within a transaction does not stay dead", func(t *testing.T, db *layered) {
		w := watch(t, db.uri)
		for range 3 {
			tx, err := db.BeginTx(soon(t), nil)
			check.OK(t, err)
			w.kill(intOf(t, tx, ownPID))
			if _, err := tx.ExecContext(soon(t), "select 1"); err == nil {
				t.Error("a statement of the dead transaction succeeds")
			}
			_ = tx.Rollback() // the connection is gone
			for range 5 {
				_, err := db.ExecContext(soon(t), "select 1")
				check.OK(t, err)
			}
		}
	})
	eachLayer(t, "a COMMIT on a killed connection does not leave it dead", func(t *testing.T, db *layered) {
		w := watch(t, db.uri)
		tx, err := db.BeginTx(soon(t), nil)
		check.OK(t, err)
		w.kill(intOf(t, tx, ownPID))
		if tx.Commit() == nil {
			t.Error("the dead transaction is committed")
		}
		for range 5 {
			check.Equal(t, intOf(t, db, "select 1"), 1)
		}
	})
	eachLayer(t, "a sql.Conn with a lock ends with its connection", func(t *testing.T, db *layered) {
		w := watch(t, db.uri)
		conn, err := db.Conn(soon(t))
		check.OK(t, err)
		defer conn.Close()
		intOf(t, conn, "select 1 from pg_advisory_lock(1)")
		w.kill(intOf(t, conn, ownPID))
		for range 3 {
			if err := conn.QueryRowContext(soon(t), "select 1").Scan(new(int)); err == nil {
				t.Error("a statement runs on another connection, which has no lock")
			}
		}
		check.Equal(t, intOf(t, db, "select 1"), 1)
	})
	eachLayer(t, "an idle connection that is killed is replaced", func(t *testing.T, db *layered) {
		w := watch(t, db.uri)
		for range 3 {
			check.Equal(t, intOf(t, db, "select 1"), 1)
			w.terminate()
		}
		check.Equal(t, intOf(t, db, "select 1"), 1)
	})
}

func TestLayersAndSettings(t *testing.T) {
	eachLayer(t, "settings and roles reach only statements of their context", func(t *testing.T, db *layered) {
		const seen = "select coalesce(current_setting('app.tenant', true), '') || current_user"
		look := func(ctx context.Context, q querier) string {
			var got string
			check.OK(t, q.QueryRowContext(ctx, seen).Scan(&got))
			return got
		}
		stmt, err := db.PrepareContext(soon(t), seen)
		check.OK(t, err)
		defer stmt.Close()
		// use runs the query in each way in which a statement can run.
		use := func(ctx context.Context, want string) {
			t.Helper()
			var got string
			check.Equal(t, look(ctx, db), want)
			check.OK(t, stmt.QueryRowContext(ctx).Scan(&got))
			check.Equal(t, got, want)
			if !db.noBeginCtx || want == "postgres" {
				tx, err := db.BeginTx(ctx, nil)
				check.OK(t, err)
				check.Equal(t, look(ctx, tx), want)
				check.OK(t, tx.Commit())
			}
			conn, err := db.Conn(ctx)
			check.OK(t, err)
			check.Equal(t, look(ctx, conn), want)
			check.OK(t, conn.Close())
			conn, err = db.Conn(ctx) // which is not used
			check.OK(t, err)
			check.OK(t, conn.Close())
			rows, err := db.QueryContext(ctx, seen)
			check.OK(t, err)
			check.OK(t, rows.Close())
		}
		plain := soon(t)
		for range 3 {
			use(tenant(plain, "a"), "apostgres")
			use(plain, "postgres")
			use(session.WithRole(plain, "pg_monitor"), "pg_monitor")
			use(plain, "postgres")
			use(session.WithRole(tenant(plain, "b"), "pg_monitor"), "bpg_monitor")
			use(tenant(plain, "a"), "apostgres")
		}
	})
	eachLayer(t, "each of many goroutines sees its own settings", func(t *testing.T, db *layered) {
		ctx := soon(t)
		inParallel(t, 12, func(worker int) error {
			for i := range 30 {
				ctx, want := ctx, ""
				if (worker+i)%2 == 0 {
					want = fmt.Sprint(worker)
					ctx = tenant(ctx, want)
				}
				var got string
				if err := db.QueryRowContext(ctx, showTenant).Scan(&got); err != nil {
					return err
				}
				if got != want {
					return fmt.Errorf("a statement sees tenant %q, its context has %q", got, want)
				}
			}
			return nil
		})
	})
	eachLayer(t, "what a statement of the DB leaves behind does not reach the next", func(t *testing.T, db *layered) {
		for _, left := range leftovers {
			for way, run := range ways {
				switch {
				case way == "a prepared statement":
					continue // it may belong to a *sql.Conn
				case left.statement == "discard all", db.noBeginCtx && way == "a text of several statements":
					continue // the server refuses it
				}
				check.OK(t, run(soon(t), db.DB, left.statement))
				if n := intOf(t, db, left.look); n != 0 {
					t.Errorf("%s (%s) reaches the next statement", left.statement, way)
				}
			}
		}
	})
}

func TestLayersAndTheNumberOfConnections(t *testing.T) {
	eachLayer(t, "20 goroutines open no more connections than they use at once", func(t *testing.T, db *layered) {
		ctx := soon(t)
		inParallel(t, 20, func(worker int) error {
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 50 {
				if _, err := db.ExecContext(ctx, "select 1"); err != nil {
					return err
				}
				<-time.After(upTo(rnd, 4*time.Millisecond))
			}
			return nil
		})
		limit := 25
		if db.cap > 0 {
			limit = db.cap
		}
		if n := pgtest.Shared(t).Sessions(t, databaseOf(t, db.uri)); n > int64(limit) {
			t.Errorf("20 goroutines opened %d connections", n)
		}
	})
	eachLayer(t, "every caller is served, whatever statements leave behind", func(t *testing.T, db *layered) {
		ctx := soon(t)
		stmt, err := db.PrepareContext(ctx, "select $1::int")
		check.OK(t, err)
		defer stmt.Close()
		inParallel(t, 12, func(worker int) error {
			rnd := rand.New(rand.NewPCG(2, uint64(worker)))
			for range 40 {
				if err := db.randomUse(ctx, rnd, stmt); err != nil {
					return err
				}
			}
			return nil
		})
		w := watch(t, db.uri)
		if n := w.backends(); db.cap > 0 && n > db.cap {
			t.Errorf("%d connections are open, the cap is %d", n, db.cap)
		}
	})
	eachLayer(t, "a waiter gets the connection of a dirty transaction", func(t *testing.T, db *layered) {
		if db.cap != 1 {
			return
		}
		tx, err := db.BeginTx(soon(t), nil)
		check.OK(t, err)
		_, err = tx.ExecContext(soon(t), "set application_name = 'x'")
		check.OK(t, err)
		asked := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			close(asked)
			_, err := db.ExecContext(soon(t), "select 1")
			done <- err
		}()
		<-asked
		check.OK(t, tx.Commit())
		check.OK(t, <-done)
	})
}

// randomUse does one of the things that applications do with a database behind a layer.
func (l *layered) randomUse(ctx context.Context, rnd *rand.Rand, stmt *sql.Stmt) error {
	switch rnd.IntN(8) {
	case 0:
		_, err := l.ExecContext(ctx, "set application_name = 'x'")
		return err
	case 1:
		tx, err := l.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("BeginTx: %w", err)
		}
		var before, after int
		err = tx.QueryRowContext(ctx, ownPID).Scan(&before)
		_, err2 := tx.ExecContext(ctx, "select pg_sleep(0.001)")
		err3 := tx.QueryRowContext(ctx, ownPID).Scan(&after)
		if before != after {
			return errors.New("a transaction has changed its connection")
		}
		return errors.Join(err, err2, err3, tx.Commit())
	case 2:
		rows, err := l.QueryContext(ctx, "select generate_series(1, 3000)")
		if err != nil {
			return err
		}
		defer rows.Close()
		sum, n := 0, 0
		for rows.Next() {
			if err := rows.Scan(&n); err != nil {
				return err
			}
			sum += n
		}
		if sum != 3000*3001/2 && rows.Err() == nil {
			return errors.New("rows are missing")
		}
		return rows.Err()
	case 3:
		var n int
		return stmt.QueryRowContext(ctx, 1).Scan(&n)
	case 4:
		conn, err := l.Conn(ctx)
		if err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, "select 1")
		return errors.Join(err, conn.Close())
	default:
		_, err := l.ExecContext(ctx, "select 1")
		return err
	}
}

func TestLayersAndSQLConn(t *testing.T) {
	eachLayer(t, "a sql.Conn keeps what it has set, and the DB does not see it", func(t *testing.T, db *layered) {
		conn, err := db.Conn(soon(t))
		check.OK(t, err)
		_, err = conn.ExecContext(soon(t), "set app.tenant = 'mine'")
		check.OK(t, err)
		pid := intOf(t, conn, ownPID)
		if db.cap != 1 {
			inParallel(t, 3, func(int) error { _, err := db.ExecContext(soon(t), "select 1"); return err })
		}
		check.Equal(t, tenantOf(t, soon(t), conn), "mine")
		check.Equal(t, intOf(t, conn, ownPID), pid)
		check.OK(t, conn.Close())
		check.Equal(t, tenantOf(t, soon(t), db), "")
		next, err := db.Conn(soon(t))
		check.OK(t, err)
		defer next.Close()
		check.Equal(t, tenantOf(t, soon(t), next), "")
	})
	eachLayer(t, "an advisory lock of a sql.Conn stays while others use the DB", func(t *testing.T, db *layered) {
		if db.cap == 1 {
			return
		}
		w := watch(t, db.uri)
		conn, err := db.Conn(soon(t))
		check.OK(t, err)
		intOf(t, conn, "select 1 from pg_advisory_lock(7)")
		inParallel(t, 6, func(int) error {
			for range 20 {
				if _, err := db.ExecContext(soon(t), "select 1"); err != nil {
					return err
				}
			}
			return nil
		})
		var taken bool
		check.OK(t, w.conn.QueryRow(t.Context(), "select pg_try_advisory_lock(7)").Scan(&taken))
		check.Equal(t, taken, false)
		intOf(t, conn, "select pg_advisory_unlock(7)::int")
		check.OK(t, conn.Close())
	})
	eachLayer(t, "a transaction that a sql.Conn begins as text stays whole", func(t *testing.T, db *layered) {
		conn, err := db.Conn(soon(t))
		check.OK(t, err)
		defer conn.Close()
		for _, text := range []string{"create temp table scratch (n int)", "begin", "insert into scratch values (1)",
			"insert into scratch values (2)", "commit"} {
			_, err := conn.ExecContext(soon(t), text)
			check.OK(t, err)
		}
		check.Equal(t, intOf(t, conn, "select count(*) from scratch"), 2)
	})
	eachLayer(t, "rows of a sql.Conn outlive other statements of it", func(t *testing.T, db *layered) {
		conn, err := db.Conn(soon(t))
		check.OK(t, err)
		defer conn.Close()
		empty, err := conn.QueryContext(soon(t), "select 1 where false")
		check.OK(t, err)
		rows, err := conn.QueryContext(soon(t), "select generate_series(1, 5000)")
		check.OK(t, err)
		check.OK(t, empty.Close())
		_, err = conn.ExecContext(soon(t), "select 1")
		check.Equal(t, err != nil, true) // the rows are in the way
		n := 0
		for rows.Next() {
			n++
		}
		check.OK(t, rows.Err())
		check.Equal(t, n, 5000)
	})
	eachLayer(t, "native code and the statements after it have one connection", func(t *testing.T, db *layered) {
		conn, err := db.Conn(soon(t))
		check.OK(t, err)
		var native int
		check.OK(t, conn.Raw(func(driverConn any) error {
			c := driverConn.(interface{ inner() driver.Conn }).inner().(interface{ Conn() *pgx.Conn }).Conn()
			if _, err := c.Exec(t.Context(), "set app.tenant = 'native'"); err != nil {
				return err
			}
			return c.QueryRow(t.Context(), ownPID).Scan(&native)
		}))
		check.Equal(t, intOf(t, conn, ownPID), native)
		check.Equal(t, tenantOf(t, soon(t), conn), "native")
		check.OK(t, conn.Close())
		check.Equal(t, intOf(t, db, "select 1"), 1)
	})
}

func TestNoLayer(t *testing.T) {
	t.Run("a sql.Conn that is a new DB's first use keeps its connection", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		pid := intOf(t, conn, ownPID)
		other, err := db.Conn(t.Context())
		check.OK(t, err)
		defer other.Close()
		check.Equal(t, intOf(t, other, ownPID) != pid, true)
		check.Equal(t, statsOf(t, db).InUse, 2)
	})
}
