package pgsafe_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

const sleeps = "select pg_sleep(60)"

// longStatements are the ways in which database/sql runs a statement that takes long.
var longStatements = map[string]func(context.Context, *sql.DB) error{
	"Exec": func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, sleeps)
		return err
	},
	"Exec with an argument": func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "select pg_sleep($1)", 60)
		return err
	},
	"Query": func(ctx context.Context, db *sql.DB) error {
		rows, err := db.QueryContext(ctx, sleeps)
		if err == nil {
			_ = rows.Close()
		}
		return err
	},
	"Stmt.Exec": func(ctx context.Context, db *sql.DB) error {
		stmt, err := db.PrepareContext(context.WithoutCancel(ctx), "select pg_sleep($1)")
		if err != nil {
			return err
		}
		_, err = stmt.ExecContext(ctx, 60)
		return errors.Join(err, stmt.Close())
	},
	"Stmt.Query": func(ctx context.Context, db *sql.DB) error {
		stmt, err := db.PrepareContext(context.WithoutCancel(ctx), "select pg_sleep($1)")
		if err != nil {
			return err
		}
		return errors.Join(stmt.QueryRowContext(ctx, 60).Err(), stmt.Close())
	},
	"Prepare behind a lock": func(ctx context.Context, db *sql.DB) error {
		_, err := db.PrepareContext(ctx, "select * from locked")
		return err
	},
	"a statement in a transaction": func(ctx context.Context, db *sql.DB) error {
		tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, sleeps)
		return errors.Join(err, tx.Rollback())
	},
}

func TestCancelledStatements(t *testing.T) {
	for name, run := range longStatements {
		for _, ends := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(fmt.Sprintf("%s ends with %v, and the connection stays", name, ends), func(t *testing.T) {
				t.Parallel()
				uri := pgtest.Shared(t).Database(t)
				db := open(t, pgsafe.DriverName, uri)
				w := watch(t, uri)
				lockTable(t, uri)
				pid := one[int](t, db, "select pg_backend_pid()")
				checkCancelled(t, run(whenItRuns(t, w, ends), db), ends)
				check.Equal(t, one[int](t, db, "select pg_backend_pid()"), pid)
				check.Equal(t, statsOf(t, db).Opened, 1)
			})
		}
	}
	t.Run("rows that are being read end with the context's error, and the connection stays", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		// The server sends its buffer when that is full (pqcomm.c, internal_putbytes).
		rows, err := db.QueryContext(ctx,
			"select repeat('x', 1000), case when n = 100 then pg_sleep(60) end from generate_series(1, 100) n")
		check.OK(t, err)
		defer rows.Close()
		check.Equal(t, rows.Next(), true)
		cancel()
		for rows.Next() {
		}
		check.Equal(t, errors.Is(rows.Err(), context.Canceled), true)
		_ = rows.Close()
		exec(t, db, "select 1")
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a statement whose context is done already fails, and its transaction goes on", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for _, query := range []string{"select 1", "select $1::int"} {
			var args []any
			if strings.Contains(query, "$1") {
				args = append(args, 1)
			}
			_, err = tx.ExecContext(done, query, args...)
			check.Equal(t, errors.Is(err, context.Canceled), true)
			check.Equal(t, errors.Is(err, driver.ErrBadConn), false)
		}
		_, err = tx.ExecContext(t.Context(), "create table made (n int)")
		check.OK(t, err)
		check.OK(t, tx.Commit())
		exec(t, db, "insert into made values (1)")
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a ping whose context is done fails and keeps the connection", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		err = conn.PingContext(done)
		check.Equal(t, errors.Is(err, context.Canceled) && !errors.Is(err, driver.ErrBadConn), true)
		check.OK(t, conn.PingContext(t.Context()))
		check.OK(t, conn.Close())
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a wait for a notification ends without a cancel request, and later waits work", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, with(proxy.URI("postgres"), "pgsafe_cancel_timeout=1h"))
		raw(t, t.Context(), db, func(conn *pgx.Conn) error {
			_, err := conn.Exec(t.Context(), "listen news")
			check.OK(t, err)
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				_, err = conn.WaitForNotification(ctx)
				cancel()
				check.Equal(t, errors.Is(err, context.DeadlineExceeded) && pgconn.Timeout(err), true)
			}
			_, err = conn.Exec(t.Context(), "notify news")
			check.OK(t, err)
			_, err = conn.WaitForNotification(t.Context())
			return err
		})
		check.Equal(t, proxy.Cancels(), 0)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a burst of timeouts closes no connection and sends few cancel requests at a time", func(t *testing.T) {
		t.Parallel()
		dials := &dialCounter{}
		uri := pgtest.Shared(t).Database(t)
		db := openDialling(t, uri, dials)
		db.SetMaxIdleConns(50)
		holdAll(t, db, 50)()
		ctx, cancel := context.WithCancel(t.Context())
		w := watch(t, uri)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			defer cancel()
			pgtest.Eventually(t, "all run", func() bool { return w.running() == 50 })
			dials.begin()
		}()
		inParallel(t, 50, func(int) error {
			_, err := db.ExecContext(ctx, sleeps)
			if !errors.Is(err, context.Canceled) {
				return fmt.Errorf("got %w", err)
			}
			return nil
		})
		<-watched
		holdAll(t, db, 50)()
		check.Equal(t, statsOf(t, db).Opened, 50)
		most := dials.most()
		t.Logf("at most %d cancel requests at a time", most)
		// Four begin at once, and each next one when a turn is over (canceler.New). A busy machine lets some overlap.
		if most < 1 || most > 25 {
			t.Errorf("%d cancel requests at a time", most)
		}
	})
}

// checkCancelled checks the identity of a cancelled statement's error.
func checkCancelled(t *testing.T, err, ends error) {
	t.Helper()
	var pgErr *pgconn.PgError
	switch {
	case !errors.Is(err, ends):
		t.Errorf("%v is not %v", err, ends)
	case !errors.As(err, &pgErr) || pgErr.Code != "57014":
		t.Errorf("%v does not hold the server's error", err)
	case pgconn.Timeout(err) != (ends == context.DeadlineExceeded):
		t.Errorf("pgconn.Timeout is wrong about %v", err)
	case pgconn.SafeToRetry(err):
		t.Errorf("%v is called safe to retry", err)
	case errors.Is(err, driver.ErrBadConn):
		t.Errorf("%v is driver.ErrBadConn", err)
	}
	want := pgsafe.KindCanceled
	if ends == context.DeadlineExceeded {
		want = pgsafe.KindTimeout
	}
	check.Equal(t, pgsafe.KindOf(err), want)
}

// whenItRuns returns a context that ends in the given way once a statement runs on the database
// that w watches.
func whenItRuns(t *testing.T, w *watcher, ends error) context.Context {
	if ends == context.DeadlineExceeded {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		pgtest.Eventually(t, "the statement runs", func() bool { return w.running() > 0 })
	}()
	t.Cleanup(func() { <-done })
	return ctx
}

// running counts statements that wait, asleep or for a lock.
func (w *watcher) running() int {
	var n int
	check.OK(w.t, w.conn.QueryRow(w.t.Context(), `select count(*) from pg_stat_activity where datname = current_database()
		and state = 'active' and application_name <> 'watcher' and wait_event_type in ('Timeout', 'Lock')`).Scan(&n))
	return n
}

// lockTable makes a table "locked" and locks it until the test ends.
func lockTable(t *testing.T, uri string) {
	conn, err := pgx.Connect(t.Context(), uri)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, conn.Close(context.Background())) })
	for _, statement := range []string{"create table locked (n int)", "begin", "lock table locked"} {
		_, err = conn.Exec(t.Context(), statement)
		check.OK(t, err)
	}
}

func TestCancelRequests(t *testing.T) {
	t.Run("a server that does not answer a cancel request costs the connection", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, with(proxy.URI("postgres"), "pgsafe_cancel_timeout=50ms"))
		exec(t, db, "select 1")
		proxy.Hang()
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err = conn.ExecContext(ctx, "select 2")
		check.Equal(t, errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, driver.ErrBadConn), true)
		proxy.Flow()
		check.OK(t, conn.Close())
		exec(t, db, "select 3")
		check.Equal(t, statsOf(t, db).Opened, 2)
	})
	t.Run("a cancel request that cannot be delivered costs the connection", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		dials := &dialCounter{}
		db := openDialling(t, with(uri, "pgsafe_cancel_timeout=1h"), dials)
		exec(t, db, "select 1")
		dials.refuse(1)
		_, err := db.ExecContext(whenItRuns(t, watch(t, uri), context.Canceled), sleeps)
		check.Equal(t, errors.Is(err, context.Canceled), true)
		exec(t, db, "select 1")
		check.Equal(t, statsOf(t, db).Opened, 2)
	})
	for name, option := range map[string]string{
		"pgsafe_conn=native":       "pgsafe_conn=native",
		"a cancel timeout of zero": "pgsafe_cancel_timeout=0s",
	} {
		t.Run("a cancelled statement closes its connection with "+name, func(t *testing.T) {
			t.Parallel()
			uri := pgtest.Shared(t).Database(t)
			db := open(t, pgsafe.DriverName, with(uri, option))
			before := one[int](t, db, "select pg_backend_pid()")
			_, err := db.ExecContext(whenItRuns(t, watch(t, uri), context.Canceled), sleeps)
			check.Equal(t, errors.Is(err, context.Canceled), true)
			check.Equal(t, one[int](t, db, "select pg_backend_pid()") == before, false)
		})
	}
	t.Run("pgsafe keeps a context watcher that the application has set", func(t *testing.T) {
		t.Parallel()
		config, err := pgx.ParseConfig(pgtest.Shared(t).Database(t))
		check.OK(t, err)
		var asked atomic.Int32
		config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
			asked.Add(1)
			return &pgconn.DeadlineContextWatcherHandler{Conn: conn.Conn(), DeadlineDelay: time.Millisecond}
		}
		c, err := pgsafe.NewConnectorConfig(config)
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err = db.ExecContext(ctx, sleeps)
		check.Equal(t, errors.Is(err, context.DeadlineExceeded) && pgsafe.SQLState(err) == "", true)
		check.Equal(t, asked.Load(), 1)
	})
	t.Run("WithCancelTimeout overrides the connection string and refuses a negative timeout", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		c, err := pgsafe.NewConnector(with(uri, "pgsafe_cancel_timeout=0s"), pgsafe.WithCancelTimeout(time.Minute))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		_, err = db.ExecContext(whenItRuns(t, watch(t, uri), context.Canceled), sleeps)
		check.Equal(t, pgsafe.SQLState(err), "57014")
		_, err = pgsafe.NewConnector(uri, pgsafe.WithCancelTimeout(-time.Second))
		var dsnErr *pgsafe.DSNError
		check.Equal(t, errors.As(err, &dsnErr) && dsnErr.Part == "pgsafe_cancel_timeout", true)
	})
	t.Run("DB.Close ends a cancel request under way", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, with(proxy.URI("postgres"), "pgsafe_cancel_timeout=2s"))
		exec(t, db, "select 1")
		proxy.Hang()
		proxy.Reset()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := db.ExecContext(ctx, "select 2")
			done <- err
		}()
		pgtest.Eventually(t, "the statement is sent", func() bool { return proxy.RoundTrips() == 1 })
		cancel()
		pgtest.Eventually(t, "the request is sent", func() bool { return proxy.Cancels() == 1 })
		check.OK(t, db.Close())
		check.Equal(t, errors.Is(<-done, context.Canceled), true)
	})
	t.Run("a cancel request to a server with TLS is encrypted", func(t *testing.T) {
		t.Parallel()
		dials := &dialCounter{}
		db := openDialling(t, pgtest.SharedTLS(t).Database(t), dials)
		exec(t, db, "select 1")
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := db.ExecContext(ctx, sleeps)
		checkCancelled(t, err, context.DeadlineExceeded)
		exec(t, db, "select 1")
		check.Equal(t, statsOf(t, db).Opened, 1)
		check.Equal(t, len(dials.sent()), 2)
		for _, sent := range dials.sent() {
			if !bytes.HasPrefix(sent, binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, 80877103)) ||
				bytes.Contains(sent, binary.BigEndian.AppendUint32(nil, 80877102)) {
				t.Errorf("a connection begins with %x", sent[:min(len(sent), 16)])
			}
		}
	})
}

// dialCounter counts the connections that are open at a time. It records what each sends, and
// refuses some.
type dialCounter struct {
	mu          sync.Mutex
	open, peak  int
	refuseAfter int
	conns       []*recordedConn
}

func (d *dialCounter) dial(next pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.refuseAfter > 0 {
			d.refuseAfter--
			return nil, errors.New("refused by the test")
		}
		conn, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		d.open++
		d.peak = max(d.peak, d.open)
		r := &recordedConn{Conn: conn, counter: d}
		d.conns = append(d.conns, r)
		return r, nil
	}
}

// begin resets the counts.
func (d *dialCounter) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open, d.peak = 0, 0
}

func (d *dialCounter) refuse(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuseAfter = n
}

func (d *dialCounter) most() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.peak
}

func (d *dialCounter) sent() [][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all [][]byte
	for _, c := range d.conns {
		all = append(all, bytes.Clone(c.sent))
	}
	return all
}

type recordedConn struct {
	net.Conn
	counter *dialCounter
	sent    []byte
	once    sync.Once
}

func (c *recordedConn) Write(p []byte) (int, error) {
	c.counter.mu.Lock()
	c.sent = append(c.sent, p...)
	c.counter.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *recordedConn) Close() error {
	c.once.Do(func() {
		c.counter.mu.Lock()
		c.counter.open--
		c.counter.mu.Unlock()
	})
	return c.Conn.Close()
}

// openDialling opens a database that dials with dials.
func openDialling(t *testing.T, uri string, dials *dialCounter) *sql.DB {
	t.Helper()
	c, err := pgsafe.NewConnector(uri, pgsafe.WithBeforeConnect(func(_ context.Context, config *pgx.ConnConfig) error {
		config.DialFunc = dials.dial(config.DialFunc)
		return nil
	}))
	check.OK(t, err)
	db := sql.OpenDB(c)
	t.Cleanup(func() { check.OK(t, db.Close()) })
	return db
}

func TestStatementsAfterACancellation(t *testing.T) {
	t.Run("the next use of a connection after a cancellation sends one empty query first", func(t *testing.T) {
		for name, run := range map[string]func(context.Context, *sql.DB) error{
			"a statement after a cancellation sends one empty query first": func(ctx context.Context, db *sql.DB) error {
				_, err := db.ExecContext(ctx, "select $1::int", 1)
				return err
			},
			"a transaction after a cancellation sends one empty query first": func(ctx context.Context, db *sql.DB) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				return tx.Commit()
			},
		} {
			t.Run(name, func(t *testing.T) {
				proxy := pgtest.NewProxy(t, pgtest.Shared(t))
				db := open(t, pgsafe.DriverName, with(proxy.URI("postgres"), "pool_max_conns=1"))
				check.OK(t, run(t.Context(), db))
				before := proxy.RoundTrips()
				check.OK(t, run(t.Context(), db))
				usual := proxy.RoundTrips() - before
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				_, err := db.ExecContext(ctx, sleeps)
				checkCancelled(t, err, context.DeadlineExceeded)
				for _, extra := range []int64{1, 0} {
					before := proxy.RoundTrips()
					check.OK(t, run(t.Context(), db))
					check.Equal(t, proxy.RoundTrips()-before, usual+extra)
				}
				check.Equal(t, proxy.Cancels(), 1)
			})
		}
	})
	t.Run("a ROLLBACK after a cancelled statement sends one empty query first", func(t *testing.T) {
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, proxy.URI("postgres"))
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err = tx.ExecContext(ctx, sleeps)
		checkCancelled(t, err, context.DeadlineExceeded)
		before := proxy.RoundTrips()
		check.OK(t, tx.Rollback())
		check.Equal(t, proxy.RoundTrips()-before, 2)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a late cancellation hits no later statement", func(t *testing.T) {
		cancels := int64(numberOfCancels(t, 1_000))
		const workers = 10
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), fmt.Sprintf("pool_max_conns=%d", workers)))
		var ended, done atomic.Int64
		inParallel(t, workers, func(worker int) error {
			for i := 0; ended.Load() < cancels; i++ {
				// The deadlines spread up to the statement's end: many requests arrive at that time.
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*7_919%30_000)*time.Microsecond)
				_, err := db.ExecContext(ctx, "select pg_sleep($1)", 0.03) // ten requests at once may take 20 ms
				cancel()
				switch {
				case err == nil:
					done.Add(1)
				case pgsafe.SQLState(err) == "57014":
					ended.Add(1)
				case !errors.Is(err, context.DeadlineExceeded):
					return err
				}
				if _, err := db.ExecContext(t.Context(), "select $1::int", i); err != nil {
					return fmt.Errorf("the next statement: %w", err)
				}
			}
			return nil
		})
		t.Logf("%d statements cancelled, %d done before; %d connections opened",
			ended.Load(), done.Load(), statsOf(t, db).Opened)
	})
}
