package session_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// gate is an advisory lock that the test holds. Statements, and COMMIT, wait for it.
type gate struct {
	t     *testing.T
	db    *sql.DB
	admin *pgx.Conn
	wait  string // a statement that waits
	later sync.WaitGroup
}

// newGate opens a database with a gate, and a table commits whose rows make COMMIT wait for it.
func newGate(t *testing.T, opts ...pgsafe.Option) *gate {
	t.Helper()
	uri := pgtest.Shared(t).Database(t)
	g := &gate{t: t, db: openAt(t, uri, opts...), wait: "SELECT pg_advisory_xact_lock_shared(7)"}
	admin, err := pgx.Connect(context.Background(), uri)
	check.OK(t, err)
	t.Cleanup(func() { _ = admin.Close(context.Background()) })
	g.admin = admin
	g.do("CREATE TABLE commits (); CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS " +
		"'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END'; " +
		"CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait(); " +
		"SELECT pg_advisory_lock(7)")
	return g
}

func (g *gate) do(text string) {
	g.t.Helper()
	_, err := g.admin.Exec(context.Background(), text)
	check.OK(g.t, err)
}

// met waits until a statement waits, and calls f.
func (g *gate) met(f func()) {
	pgtest.Eventually(g.t, "a statement waits for the gate", func() bool {
		var n int
		check.OK(g.t, g.admin.QueryRow(context.Background(),
			"SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&n))
		return n > 0
	})
	f()
}

// kill ends all other connections of the database.
func (g *gate) kill() {
	g.do("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
}

// points are where something may happen to a transaction. Each calls happens at its point.
var points = map[string]func(g *gate, ctx context.Context, happens func()) error{
	"during a statement": func(g *gate, ctx context.Context, happens func()) error {
		return meanwhile(g, happens, func() error { _, err := g.db.ExecContext(ctx, g.wait); return err })
	},
	"between two statements": func(g *gate, ctx context.Context, happens func()) error {
		happens()
		_, err := g.db.ExecContext(ctx, "INSERT INTO ledger VALUES ('after')")
		return err
	},
	"before COMMIT": func(_ *gate, _ context.Context, happens func()) error {
		happens()
		return nil
	},
	"while rows are open": func(g *gate, ctx context.Context, happens func()) error {
		rows := query(g.t, ctx, g.db, long)
		check.Equal(g.t, rows.Next(), true)
		happens()
		for rows.Next() {
		}
		return rows.Err()
	},
	"while rows are left open": func(g *gate, ctx context.Context, happens func()) error {
		rows := query(g.t, ctx, g.db, long)
		check.Equal(g.t, rows.Next(), true)
		happens()
		return nil
	},
	"during a statement of a nested transaction": func(g *gate, ctx context.Context, happens func()) error {
		return session.Tx(ctx, g.db, nil, func(ctx context.Context) error {
			return meanwhile(g, happens, func() error { _, err := g.db.ExecContext(ctx, g.wait); return err })
		})
	},
	"in a *sql.Tx that is never ended": func(g *gate, ctx context.Context, happens func()) error {
		inner, err := g.db.BeginTx(ctx, nil)
		check.OK(g.t, err)
		enter(g.t, ctx, inner, "inner")
		happens()
		return nil
	},
	"in native code": func(g *gate, ctx context.Context, happens func()) error {
		c := conn(g.t, ctx, g.db)
		defer c.Close()
		return pgsafe.Raw(c, func(pc *pgx.Conn) error {
			return meanwhile(g, happens, func() error { _, err := pc.Exec(ctx, g.wait); return err })
		})
	},
	"during COMMIT": func(g *gate, ctx context.Context, happens func()) error {
		exec(g.t, ctx, g.db, "INSERT INTO commits DEFAULT VALUES")
		g.later.Go(func() { g.met(happens) })
		return nil
	},
}

// meanwhile runs f, which waits for the gate, and has something happen then.
func meanwhile(g *gate, happens func(), f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	g.met(happens)
	return <-done
}

func TestCancelAtEachPoint(t *testing.T) {
	t.Run("a context that ends during COMMIT leaves the server time to answer", func(t *testing.T) {
		g := newGate(t, pgsafe.WithCancelTimeout(time.Minute))
		ctx, cancel := context.WithCancel(t.Context())
		check.OK(t, session.Tx(ctx, g.db, nil, func(ctx context.Context) error {
			enter(t, ctx, g.db, "before")
			return points["during COMMIT"](g, ctx, func() { cancel(); g.do("SELECT pg_advisory_unlock(7)") })
		}))
		g.later.Wait()
		allBack(t, g.db)
		check.Equal(t, entries(t, g.db), "before")
	})
	for at, point := range points {
		if at == "during COMMIT" {
			continue
		}
		for _, uses := range []string{"its error", "no error"} {
			t.Run("a context that ends "+at+" rolls back a function that returns "+uses+", and the connection survives", func(t *testing.T) {
				g := newGate(t, pgsafe.WithCancelTimeout(time.Minute))
				ctx, cancel := context.WithCancel(t.Context())
				var pid int
				err := session.Tx(ctx, g.db, nil, func(ctx context.Context) error {
					pid = backend(t, ctx, g.db)
					enter(t, ctx, g.db, "before")
					if err := point(g, ctx, cancel); uses == "its error" {
						return err
					}
					return nil
				})
				g.later.Wait()
				isError(t, err, context.Canceled)
				allBack(t, g.db)
				check.Equal(t, entries(t, g.db), "")
				check.Equal(t, backend(t, t.Context(), g.db), pid)
			})
		}
	}
	t.Run("a context that has ended begins no transaction", func(t *testing.T) {
		db := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		isError(t, session.Tx(ctx, db, nil, func(context.Context) error { t.Error("it was called"); return nil }), context.Canceled)
		allBack(t, db)
	})
	t.Run("a deadline shorter than a lock wait ends the transaction and keeps the connection", func(t *testing.T) {
		g := newGate(t, pgsafe.WithCancelTimeout(time.Minute))
		pid := backend(t, t.Context(), g.db)
		for _, options := range []*session.TxOptions{nil, {StatementTimeout: session.UntilDeadline}} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			err := session.Tx(ctx, g.db, options, func(ctx context.Context) error {
				_, err := g.db.ExecContext(ctx, g.wait)
				return err
			})
			cancel()
			if _, isPg := errors.AsType[*pgconn.PgError](err); !isPg {
				isError(t, err, context.DeadlineExceeded)
			}
			allBack(t, g.db)
			check.Equal(t, backend(t, t.Context(), g.db), pid)
		}
	})
	t.Run("a statement with a context of its own that ends aborts the transaction, which names it", func(t *testing.T) {
		g := newGate(t)
		err := session.Tx(t.Context(), g.db, nil, func(ctx context.Context) error {
			within, cancel := context.WithCancel(ctx)
			isError(t, meanwhile(g, cancel, func() error { _, err := g.db.ExecContext(within, g.wait); return err }), context.Canceled)
			return nil
		})
		isError(t, err, session.ErrRolledBack)
		isError(t, err, context.Canceled)
	})
}

func TestKillAtEachPoint(t *testing.T) {
	for at, point := range points {
		for _, uses := range []string{"its error", "no error"} {
			t.Run("a connection that the server ends "+at+" is lost to a function that returns "+uses+", which runs once", func(t *testing.T) {
				g := newGate(t)
				runs := 0
				err := session.Tx(t.Context(), g.db, &session.TxOptions{Retries: 3}, func(ctx context.Context) error {
					runs++
					enter(t, ctx, g.db, "before")
					err := point(g, ctx, g.kill)
					if uses == "no error" {
						err = nil
					}
					return err
				})
				g.later.Wait()
				switch {
				case at == "during COMMIT" && errors.Is(err, session.ErrCommitUnknown):
				case at == "in a *sql.Tx that is never ended" && errors.Is(err, session.ErrRolledBack):
				default:
					isError(t, err, session.ErrLost)
				}
				if errors.Is(err, driver.ErrBadConn) {
					t.Fatalf("%v is driver.ErrBadConn, upon which database/sql tries again", err)
				}
				check.Equal(t, runs, 1)
				allBack(t, g.db)
				check.Equal(t, entries(t, g.db), "")
			})
		}
	}
	t.Run("a statement after the loss gets ErrLost, whatever it is", func(t *testing.T) {
		g := newGate(t)
		isError(t, session.Tx(t.Context(), g.db, nil, func(ctx context.Context) error {
			stmt, err := g.db.PrepareContext(ctx, "INSERT INTO ledger VALUES ('elsewhere')")
			check.OK(t, err)
			defer stmt.Close()
			g.kill()
			_, err = g.db.ExecContext(ctx, "INSERT INTO ledger VALUES ('elsewhere')")
			isError(t, err, session.ErrLost)
			_, err = stmt.ExecContext(ctx)
			isError(t, err, session.ErrLost)
			isError(t, g.db.QueryRowContext(ctx, "INSERT INTO ledger VALUES ('elsewhere') RETURNING 1").Scan(new(int)), session.ErrLost)
			_, err = g.db.BeginTx(ctx, nil)
			isError(t, err, session.ErrLost)
			isError(t, session.Tx(ctx, g.db, nil, func(context.Context) error { return nil }), session.ErrLost)
			isError(t, g.db.PingContext(ctx), session.ErrLost)
			return nil
		}), session.ErrLost)
		check.Equal(t, entries(t, g.db), "")
	})
	t.Run("a connection that the server ended before BEGIN is replaced", func(t *testing.T) {
		g := newGate(t)
		exec(t, t.Context(), g.db, "SELECT")
		g.kill()
		tx(t, t.Context(), g.db, func(ctx context.Context) { enter(t, ctx, g.db, "begun") })
		check.Equal(t, entries(t, g.db), "begun")
	})
}

// valuer panics when it is asked for its value.
type valuer struct{}

func (valuer) Value() (driver.Value, error) { panic("Value") }

func TestMisuse(t *testing.T) {
	db := open(t)
	for _, text := range []string{
		"COMMIT", "ROLLBACK", "END", "ABORT", "BEGIN", "START TRANSACTION", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "PREPARE TRANSACTION 'x'",
		" /* c */ commit", "INSERT INTO ledger VALUES ('text'); COMMIT", "INSERT INTO ledger VALUES ('text'); COMMIT AND CHAIN",
		"COMMIT; BEGIN", "SELECT 1; ROLLBACK AND CHAIN; INSERT INTO ledger VALUES ('text')",
		"INSERT INTO ledger VALUES ('" + strings.Repeat("x", 1<<17) + "'); COMMIT AND CHAIN",
		"INSERT INTO ledger VALUES ('" + strings.Repeat("x", 1<<17) + "'); COMMIT; -- done\n/* next */ BEGIN",
		`INSERT INTO ledger VALUES ('\'); COMMIT; BEGIN; --'`,
	} {
		name := text[:min(len(text), 70)]
		t.Run(fmt.Sprintf("the text %q in a transaction is refused, and the transaction goes on", name), func(t *testing.T) {
			undone(t, t.Context(), db, func(ctx context.Context) {
				enter(t, ctx, db, "before")
				_, err := db.ExecContext(ctx, text)
				isError(t, err, session.ErrOptions)
				tx(t, ctx, db, func(ctx context.Context) {
					_, err := db.ExecContext(ctx, text)
					isError(t, err, session.ErrOptions)
				})
				enter(t, ctx, db, "after")
			})
			check.Equal(t, entries(t, db), "")
		})
	}
	t.Run("a savepoint as text is allowed", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			exec(t, ctx, db, "SAVEPOINT mine")
			enter(t, ctx, db, "undone")
			exec(t, ctx, db, "ROLLBACK TO mine")
			exec(t, ctx, db, "RELEASE mine")
		})
		check.Equal(t, entries(t, db), "")
	})
	for name, run := range map[string]func(ctx context.Context) error{
		"a long text with COMMIT and BEGIN where its words are not read": func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "SELECT '"+strings.Repeat("x", 1<<17)+"'; COMMIT; SELECT 1; BEGIN")
			return err
		},
		"native code that runs COMMIT AND CHAIN": func(ctx context.Context) error {
			c := conn(t, ctx, db)
			defer c.Close()
			return pgsafe.Raw(c, func(pc *pgx.Conn) error { _, err := pc.Exec(ctx, "COMMIT AND CHAIN"); return err })
		},
	} {
		t.Run(name+" loses the transaction, though another one is open then", func(t *testing.T) {
			isError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
				isError(t, run(ctx), session.ErrLost)
				_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ('elsewhere')")
				isError(t, err, session.ErrLost)
				return nil
			}), session.ErrLost)
			check.Equal(t, entries(t, db), "")
			allBack(t, db)
		})
	}
	t.Run("a COMMIT of native code is found, and Tx fails", func(t *testing.T) {
		isError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			c := conn(t, ctx, db)
			defer c.Close()
			isError(t, pgsafe.Raw(c, func(pc *pgx.Conn) error { _, err := pc.Exec(ctx, "COMMIT"); return err }), session.ErrLost)
			_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ('elsewhere')")
			isError(t, err, session.ErrLost)
			return nil
		}), session.ErrLost)
		check.Equal(t, entries(t, db), "")
		allBack(t, db)
	})
	t.Run("the first error that was dropped is in ErrRolledBack, and an error that left the transaction as it was is not", func(t *testing.T) {
		err := session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			enter(t, ctx, db, "before")
			_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ($1)", struct{}{})
			check.Equal(t, err != nil, true) // pgx cannot encode it, and sends nothing
			enter(t, ctx, db, "still fine")
			_, _ = db.ExecContext(ctx, "SELECT 1/0")
			_, _ = db.ExecContext(ctx, "SELECT 1")
			return nil
		})
		isError(t, err, session.ErrRolledBack)
		isError(t, err, pgx.ErrTxCommitRollback)
		pgErr, _ := errors.AsType[*pgconn.PgError](err)
		check.Equal(t, pgErr.Code, "22012")
		check.Equal(t, entries(t, db), "")
	})
	t.Run("a statement that an argument's Value runs in the same transaction gets ErrBusy", func(t *testing.T) {
		busySoon(t)
		tx(t, t.Context(), db, func(ctx context.Context) {
			_, err := db.ExecContext(ctx, "SELECT $1::text", asking(func() error {
				_, err := db.ExecContext(ctx, "SELECT 1")
				return err
			}))
			isError(t, err, session.ErrBusy)
		})
	})
	t.Run("a statement that waits for one that runs for longer than the limit does not get ErrBusy", func(t *testing.T) {
		busySoon(t)
		tx(t, t.Context(), db, func(ctx context.Context) {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if _, err := db.ExecContext(ctx, "SELECT pg_sleep(0.3)"); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	})
	t.Run("a panic in an argument's Value goes on, and the transaction is rolled back", func(t *testing.T) {
		for _, use := range []func(ctx context.Context){
			func(ctx context.Context) { _, _ = db.ExecContext(ctx, "INSERT INTO ledger VALUES ($1)", valuer{}) },
			func(ctx context.Context) { _, _ = db.QueryContext(ctx, "SELECT $1::text", valuer{}) },
		} {
			func() {
				defer func() { check.Equal(t, recover(), any("Value")) }()
				_ = session.Tx(t.Context(), db, nil, func(ctx context.Context) error { enter(t, ctx, db, "panic"); use(ctx); return nil })
			}()
			allBack(t, db)
			tx(t, t.Context(), db, func(ctx context.Context) {
				func() {
					defer func() { check.Equal(t, recover(), any("Value")) }()
					use(ctx)
				}()
				check.Equal(t, one[int](t, ctx, db, "SELECT 1"), 1)
			})
			allBack(t, db)
		}
		check.Equal(t, entries(t, db), "")
	})
	for name, end := range map[string]func(){"a panic": func() { panic("end") }, "runtime.Goexit": runtime.Goexit} {
		t.Run(name+" in a nested transaction, with rows and a *sql.Tx open, rolls back the whole", func(t *testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				_ = session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
					enter(t, ctx, db, "outer")
					return session.Tx(ctx, db, nil, func(ctx context.Context) error {
						rows := query(t, ctx, db, long)
						check.Equal(t, rows.Next(), true)
						inner, err := db.BeginTx(ctx, nil)
						check.OK(t, err)
						enter(t, ctx, inner, "inner")
						end()
						return nil
					})
				})
			}()
			<-done
			allBack(t, db)
			check.Equal(t, entries(t, db), "")
		})
	}
}

// asking is an argument whose Value runs a statement.
type asking func() error

func (a asking) Value() (driver.Value, error) { return "", a() }
