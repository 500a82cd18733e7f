package pgsafetest_test

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/pgsafetest"
	"github.com/pgsafe/pgsafe/session"
	"github.com/pgsafe/pgsafe/telemetry"
)

// open opens a database of the test's own, with 25 lines of one order.
func open(t *testing.T, opts ...pgsafe.Option) *sql.DB {
	t.Helper()
	db, err := pgsafe.Open(pgtest.Shared(t).Database(t), opts...)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, db.Close()) })
	exec(t, db, "CREATE TABLE orders (id int PRIMARY KEY)")
	exec(t, db, "CREATE TABLE lines (id int PRIMARY KEY, order_id int, sku text)")
	exec(t, db, "INSERT INTO orders VALUES (1)")
	exec(t, db, "INSERT INTO lines SELECT n, 1, 'book' FROM generate_series(1, 25) n")
	return db
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func exec(t *testing.T, db execer, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	check.OK(t, err)
}

// want fails the test unless exactly these statements ran.
func want(t *testing.T, ran *pgsafetest.Recording, statements ...pgsafetest.Statement) {
	t.Helper()
	if got := ran.Statements(); !slices.Equal(got, statements) {
		t.Errorf("got  %v\nwant %v", got, statements)
	}
}

func TestRecord(t *testing.T) {
	db := open(t)
	ran := pgsafetest.Record(t, db)
	t.Run("a loop of single queries is 26 statements of two kinds", func(t *testing.T) {
		ran.Reset()
		var order int
		check.OK(t, db.QueryRowContext(t.Context(), "SELECT id FROM orders").Scan(&order))
		for line := range 25 {
			var sku string
			query := fmt.Sprintf("SELECT sku FROM lines WHERE order_id = $1 AND id = %d", line+1)
			check.OK(t, db.QueryRowContext(t.Context(), query, order).Scan(&sku))
		}
		check.Equal(t, ran.Total(), 26)
		check.Equal(t, ran.String(), "26 statements: 1 SELECT orders, 25 SELECT lines")
	})
	t.Run("BEGIN, COMMIT and what is between them ran in a transaction", func(t *testing.T) {
		ran.Reset()
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		exec(t, tx, "UPDATE lines SET sku = $1 WHERE id = 1", "pen")
		exec(t, tx, "UPDATE lines SET sku = $1 WHERE id = 2", "pen")
		check.OK(t, tx.Commit())
		exec(t, db, "DELETE FROM lines WHERE id = 25")
		want(t, ran, pgsafetest.Statement{"BEGIN", true, 1}, pgsafetest.Statement{"UPDATE lines", true, 2},
			pgsafetest.Statement{"COMMIT", true, 1}, pgsafetest.Statement{"DELETE lines", false, 1})
	})
	t.Run("a plain DB's statements are in the transaction of package session", func(t *testing.T) {
		ran.Reset()
		check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "DELETE FROM lines WHERE id = $1", 24)
			return err
		}))
		want(t, ran, pgsafetest.Statement{"BEGIN", true, 1}, pgsafetest.Statement{"DELETE lines", true, 1},
			pgsafetest.Statement{"COMMIT", true, 1})
	})
	t.Run("a prepared statement counts when it runs, not when it is prepared", func(t *testing.T) {
		ran.Reset()
		st, err := db.PrepareContext(t.Context(), "DELETE FROM orders WHERE id = $1")
		check.OK(t, err)
		defer st.Close()
		check.Equal(t, ran.Total(), 0)
		for id := range 3 {
			_, err = st.ExecContext(t.Context(), id+100)
			check.OK(t, err)
		}
		want(t, ran, pgsafetest.Statement{"DELETE orders", false, 3})
	})
	t.Run("native code's statements count, each one of a batch, and so does its COPY", func(t *testing.T) {
		ran.Reset()
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error {
			batch := &pgx.Batch{}
			batch.Queue("SELECT id FROM orders")
			batch.Queue("SELECT id FROM orders")
			check.OK(t, c.SendBatch(t.Context(), batch).Close())
			_, err := c.CopyFrom(t.Context(), pgx.Identifier{"orders"}, []string{"id"}, pgx.CopyFromRows([][]any{{50}}))
			return err
		}))
		want(t, ran, pgsafetest.Statement{"SELECT orders", false, 2}, pgsafetest.Statement{"COPY orders", false, 1})
	})
	t.Run("a statement that fails counts, and a ping and the settings of a context do not", func(t *testing.T) {
		ran.Reset()
		check.OK(t, db.PingContext(t.Context()))
		ctx := session.WithSettings(t.Context(), map[string]string{"app.tenant": "7"})
		if _, err := db.ExecContext(ctx, "SELECT * FROM missing"); err == nil {
			t.Error("the table is there")
		}
		want(t, ran, pgsafetest.Statement{"SELECT missing", false, 1})
	})
	t.Run("two recordings of one DB see the same, from their beginning on", func(t *testing.T) {
		ran.Reset()
		exec(t, db, "SELECT 1")
		second := pgsafetest.Record(t, db)
		exec(t, db, "SELECT 1")
		check.Equal(t, ran.Total(), 2)
		check.Equal(t, second.String(), "1 statement: 1 SELECT")
	})
}

// fake is a testing.TB that notes failures.
type fake struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (f *fake) Helper()          {}
func (f *fake) Cleanup(g func()) { f.cleanups = append(f.cleanups, g) }
func (f *fake) Errorf(format string, args ...any) {
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

func (f *fake) Fatal(args ...any) {
	f.failures = append(f.failures, fmt.Sprint(args...))
	runtime.Goexit()
}

// run calls g as a test, with its end.
func (f *fake) run(g func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		g()
	}()
	<-done
	for _, cleanup := range f.cleanups {
		cleanup()
	}
}

func TestRecordFailsATest(t *testing.T) {
	t.Run("AtMost fails with the statements if there are more, and the end of the test ends the recording", func(t *testing.T) {
		db := open(t)
		f := &fake{}
		var ran *pgsafetest.Recording
		f.run(func() {
			ran = pgsafetest.Record(f, db)
			exec(t, db, "SELECT id FROM orders")
			ran.AtMost(1)
			ran.AtMost(0)
		})
		check.Equal(t, strings.Join(f.failures, "\n"), "more than 0 ran: 1 statement: 1 SELECT orders")
		exec(t, db, "SELECT id FROM orders")
		check.Equal(t, ran.Total(), 1)
	})
	for _, tt := range []struct {
		name, want string
		open       func(dsn string) (*sql.DB, error)
	}{
		{"Record refuses a DB of another driver", "not one of the pgsafe driver", func(dsn string) (*sql.DB, error) {
			return sql.Open("pgx", dsn)
		}},
		{"Record refuses native connections", "native connections", func(dsn string) (*sql.DB, error) {
			return pgsafe.Open(dsn, pgsafe.WithNativeConn())
		}},
		{"Record refuses a DB without telemetry", "telemetry is off", func(dsn string) (*sql.DB, error) {
			return pgsafe.Open(dsn, pgsafe.WithTelemetry(telemetry.Off()))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db, err := tt.open("host=localhost")
			check.OK(t, err)
			defer db.Close()
			f := &fake{}
			f.run(func() { pgsafetest.Record(f, db) })
			if got := strings.Join(f.failures, "\n"); !strings.Contains(got, tt.want) {
				t.Errorf("it fails with %q", got)
			}
		})
	}
}

func TestServer(t *testing.T) {
	t.Run("Server runs until the test ends", func(t *testing.T) {
		f := &fake{}
		var dsn string
		f.run(func() {
			dsn = pgsafetest.Server(f)
			db, err := sql.Open(pgsafe.DriverName, dsn)
			check.OK(t, err)
			defer db.Close()
			exec(t, db, "CREATE TABLE orders (id int)")
		})
		check.Equal(t, len(f.failures), 0)
		if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
			_ = conn.Close(t.Context())
			t.Error("the server answers after the test")
		}
	})
}
