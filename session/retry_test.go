package session_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

const conflict = "DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '40001'; END $$"

func TestRetries(t *testing.T) {
	t.Run("a counter of eight goroutines in serializable transactions is right", func(t *testing.T) {
		db := open(t)
		exec(t, t.Context(), db, "CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)")
		var again atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					opts := &session.TxOptions{Isolation: sql.LevelSerializable, Retries: 1000}
					err := session.Tx(t.Context(), db, opts, func(ctx context.Context) error {
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
		check.Equal(t, one[int](t, t.Context(), db, "SELECT n FROM counter"), 80)
		check.Equal(t, again.Load() > 0, true)
	})
	t.Run("transfers that lock in any order, in a nested transaction, meet deadlocks and keep the sum", func(t *testing.T) {
		db := openAt(t, with(pgtest.Shared(t).Database(t), "options=-c%20deadlock_timeout%3D10ms"))
		exec(t, t.Context(), db, "CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account SELECT i, 100 FROM generate_series(0, 3) i")
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := range 10 {
					from, to := (worker+i)%4, (worker+3*i+1)%4
					err := session.Tx(t.Context(), db, &session.TxOptions{Retries: 1000}, func(ctx context.Context) error {
						if _, err := db.ExecContext(ctx, "UPDATE account SET balance = balance - 1 WHERE id = $1", from); err != nil {
							return err
						}
						return session.Tx(ctx, db, nil, func(ctx context.Context) error {
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
		check.Equal(t, one[int](t, t.Context(), db, "SELECT sum(balance) FROM account"), 400)
	})
	t.Run("only the outermost transaction runs again, as often as it is allowed", func(t *testing.T) {
		db := open(t)
		outer, inner := 0, 0
		err := session.Tx(t.Context(), db, &session.TxOptions{Retries: 2}, func(ctx context.Context) error {
			outer++
			check.Equal(t, session.Attempt(ctx), outer)
			return session.Tx(ctx, db, &session.TxOptions{Retries: 5}, func(ctx context.Context) error {
				inner++
				check.Equal(t, session.Attempt(ctx), outer)
				_, err := db.ExecContext(ctx, conflict)
				return err
			})
		})
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindSerialization)
		check.Equal(t, outer, 3)
		check.Equal(t, inner, 3)
	})
	t.Run("a conflict whose error was dropped is found at COMMIT, and the transaction runs again", func(t *testing.T) {
		db := open(t)
		check.OK(t, session.Tx(t.Context(), db, &session.TxOptions{Retries: 1}, func(ctx context.Context) error {
			enter(t, ctx, db, fmt.Sprint(session.Attempt(ctx)))
			if session.Attempt(ctx) == 1 {
				_, _ = db.ExecContext(ctx, conflict)
			}
			return nil
		}))
		check.Equal(t, entries(t, db), "2")
	})
	t.Run("a transaction that runs again has the connection to which its first run gave session state", func(t *testing.T) {
		db := open(t)
		check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
			var pid int
			return session.Tx(ctx, db, &session.TxOptions{Retries: 1}, func(ctx context.Context) error {
				if session.Attempt(ctx) == 1 {
					pid = backend(t, ctx, db)
					exec(t, ctx, db, "SELECT pg_advisory_lock(42)")
					_, err := db.ExecContext(ctx, conflict)
					return err
				}
				check.Equal(t, backend(t, ctx, db), pid)
				return nil
			})
		}))
	})
	t.Run("a context that ends between two runs ends the retries with the conflict", func(t *testing.T) {
		db := open(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := session.Tx(ctx, db, &session.TxOptions{Retries: 1 << 30}, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, conflict)
			return err
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindSerialization)
		}
	})
	t.Run("a statement timeout ends each statement of a transaction, and the next transaction has none", func(t *testing.T) {
		db := open(t)
		err := session.Tx(t.Context(), db, &session.TxOptions{StatementTimeout: 20 * time.Millisecond}, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "SELECT pg_sleep(60)")
			return err
		})
		check.Equal(t, strings.Contains(fmt.Sprint(err), "57014"), true)
		tx(t, t.Context(), db, func(ctx context.Context) { check.Equal(t, one[string](t, ctx, db, "SHOW statement_timeout"), "0") })
	})
	t.Run("the server is told the deadline, and none if there is none", func(t *testing.T) {
		db := open(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		opts := &session.TxOptions{StatementTimeout: session.UntilDeadline}
		check.OK(t, session.Tx(ctx, db, opts, func(ctx context.Context) error {
			d, err := time.ParseDuration(one[string](t, ctx, db, "SELECT setting || 'ms' FROM pg_settings WHERE name = 'statement_timeout'"))
			check.OK(t, err)
			check.Equal(t, d > 30*time.Minute && d <= time.Hour, true)
			return nil
		}))
		check.OK(t, session.Tx(t.Context(), db, opts, func(ctx context.Context) error {
			check.Equal(t, one[string](t, ctx, db, "SHOW statement_timeout"), "0")
			return nil
		}))
	})
}

// committer is a database behind a proxy, in which COMMIT waits for a lock that admin has.
type committer struct {
	t     *testing.T
	ctx   context.Context // Tx's
	db    *sql.DB
	proxy *pgtest.Proxy
	admin *pgx.Conn
}

const committing = `CREATE TABLE ledger (entry text);
	CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold();
	SELECT pg_advisory_lock(1)`

func newCommitter(t *testing.T, user string) *committer {
	t.Helper()
	cluster := pgtest.Shared(t)
	database := databaseOf(t, cluster.Database(t))
	c := &committer{t: t, ctx: t.Context(), admin: cluster.AdminIn(t, database), proxy: pgtest.NewProxy(t, cluster)}
	c.do(committing)
	uri := c.proxy.URI(database)
	if user != "" {
		name := user + "_" + database
		c.do("CREATE ROLE " + name + " LOGIN; GRANT INSERT ON ledger TO " + name)
		t.Cleanup(func() { c.do("DROP OWNED BY " + name + "; DROP ROLE " + name) })
		config, err := pgx.ParseConfig(uri)
		check.OK(t, err)
		uri = fmt.Sprintf("postgres://%s@%s:%d/%s?sslmode=disable", name, config.Host, config.Port, database)
	}
	var err error
	c.db, err = pgsafe.Open(uri)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, c.db.Close()) })
	return c
}

func (c *committer) do(text string) {
	c.t.Helper()
	_, err := c.admin.Exec(context.Background(), text)
	check.OK(c.t, err)
}

// run begins a transaction.
func (c *committer) run(options session.TxOptions) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- session.Tx(c.ctx, c.db, &options, func(ctx context.Context) error {
			_, err := c.db.ExecContext(ctx, "INSERT INTO ledger VALUES ($1)", fmt.Sprint(session.Attempt(ctx)))
			return err
		})
	}()
	return done
}

// waits returns when a COMMIT waits for the lock.
func (c *committer) waits() (pid int) {
	c.t.Helper()
	pgtest.Eventually(c.t, "COMMIT waits", func() bool {
		return c.admin.QueryRow(c.t.Context(), `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&pid) == nil
	})
	return pid
}

func (c *committer) unlock() { c.do("SELECT pg_advisory_unlock(1)") }

// written returns the ledger.
func (c *committer) written() (entries string) {
	check.OK(c.t, c.admin.QueryRow(c.t.Context(), "SELECT coalesce(string_agg(entry, ' '), '') FROM ledger").Scan(&entries))
	return entries
}

func TestCommitUnknown(t *testing.T) {
	t.Run("a COMMIT whose answer is lost is ErrCommitUnknown, and the transaction does not run again", func(t *testing.T) {
		c := newCommitter(t, "")
		done := c.run(session.TxOptions{Retries: 3})
		c.waits()
		c.proxy.Cut()
		isError(t, <-done, session.ErrCommitUnknown)
		c.unlock()
	})
	for _, user := range []string{"", "plain"} {
		as := "a superuser"
		if user != "" {
			as = "a role without rights"
		}
		t.Run("a check as "+as+" finds that a COMMIT whose answer was lost was committed", func(t *testing.T) {
			c := newCommitter(t, user)
			done := c.run(session.TxOptions{Retries: 3, CommitCheck: time.Minute})
			c.waits()
			c.proxy.Hang() // so that pgx's cancel request for the broken connection (pgconn, PgConn.asyncClose) comes too late
			c.proxy.Cut()
			c.unlock()
			pgtest.Eventually(t, "it is committed", func() bool { return c.written() == "1" })
			c.proxy.Flow()
			check.OK(t, <-done)
			check.Equal(t, c.written(), "1")
		})
		t.Run("a check as "+as+" finds that a COMMIT was rolled back, and the transaction runs again", func(t *testing.T) {
			c := newCommitter(t, user)
			done := c.run(session.TxOptions{Retries: 3, CommitCheck: time.Minute})
			c.do(fmt.Sprintf("SELECT pg_terminate_backend(%d)", c.waits()))
			c.unlock()
			check.OK(t, <-done)
			check.Equal(t, c.written(), "2")
		})
		t.Run("a check as "+as+" without retries says that a COMMIT was rolled back", func(t *testing.T) {
			c := newCommitter(t, user)
			done := c.run(session.TxOptions{CommitCheck: time.Minute})
			c.do(fmt.Sprintf("SELECT pg_terminate_backend(%d)", c.waits()))
			c.unlock()
			isError(t, <-done, session.ErrRolledBack)
			check.Equal(t, c.written(), "")
		})
	}
	t.Run("a check works in a context with settings", func(t *testing.T) {
		c := newCommitter(t, "")
		c.ctx = tenant(c.ctx, "1")
		done := c.run(session.TxOptions{Retries: 3, CommitCheck: time.Minute})
		c.do(fmt.Sprintf("SELECT pg_terminate_backend(%d)", c.waits()))
		c.unlock()
		check.OK(t, <-done)
		check.Equal(t, c.written(), "2")
	})
	t.Run("a check that reaches no server in time leaves the outcome unknown", func(t *testing.T) {
		c := newCommitter(t, "")
		done := c.run(session.TxOptions{CommitCheck: 100 * time.Millisecond})
		c.waits()
		c.proxy.Hang()
		c.proxy.Cut()
		isError(t, <-done, session.ErrCommitUnknown)
		c.proxy.Flow()
		c.unlock()
	})
	t.Run("a check that a promoted standby answers leaves the outcome unknown", func(t *testing.T) {
		primary := pgtest.New(t, pgserver.Options{})
		standby := pgtest.Standby(t, primary)
		admin := primary.AdminIn(t, "postgres")
		_, err := admin.Exec(t.Context(), committing)
		check.OK(t, err)
		standby.CatchUp(t, primary)
		db, err := pgsafe.Open(fmt.Sprintf("postgres://%s@%s:%d,%s:%d/postgres?sslmode=disable&target_session_attrs=read-write",
			primary.User(), primary.Host(), primary.Port(), standby.Host(), standby.Port()))
		check.OK(t, err)
		defer db.Close()
		c := &committer{t: t, ctx: t.Context(), db: db, admin: admin}
		done := c.run(session.TxOptions{Retries: 3, CommitCheck: time.Minute})
		c.waits()
		check.OK(t, primary.Kill())
		check.OK(t, standby.Promote(t.Context()))
		isError(t, <-done, session.ErrCommitUnknown)
	})
	t.Run("a check of a transaction on a standby, which writes nothing, does not fail it", func(t *testing.T) {
		primary := pgtest.New(t, pgserver.Options{})
		standby := pgtest.Standby(t, primary)
		db, err := pgsafe.Open(standby.URI("postgres"))
		check.OK(t, err)
		defer db.Close()
		check.OK(t, session.Tx(t.Context(), db, &session.TxOptions{CommitCheck: time.Minute}, func(ctx context.Context) error {
			check.Equal(t, one[int](t, ctx, db, "SELECT 1"), 1)
			return nil
		}))
	})
}
