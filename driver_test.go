package pgsafe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// dropIn are bodies of code that an application has today. Each runs against pgx's own driver and against pgsafe
// and has to hold for both: that is what "change one string" means.
var dropIn = []struct {
	name string
	run  func(t *testing.T, ctx context.Context, db *sql.DB)
}{
	{"a row is scanned into Go types", func(t *testing.T, ctx context.Context, db *sql.DB) {
		var (
			i  int64
			s  string
			f  float64
			b  bool
			ts time.Time
			by []byte
		)
		row := db.QueryRowContext(ctx, `select 42::int8, 'text', 1.5::float8, true, '2024-02-29 12:00:00+00'::timestamptz, '\x0102'::bytea`)
		check.OK(t, row.Scan(&i, &s, &f, &b, &ts, &by))
		check.Equal(t, i, 42)
		check.Equal(t, s, "text")
		check.Equal(t, f, 1.5)
		check.Equal(t, b, true)
		check.Equal(t, ts.UTC().Format(time.RFC3339), "2024-02-29T12:00:00Z")
		check.Equal(t, string(by), "\x01\x02")
	}},
	{"no row is sql.ErrNoRows", func(t *testing.T, ctx context.Context, db *sql.DB) {
		var i int
		err := db.QueryRowContext(ctx, "select 1 where false").Scan(&i)
		check.Equal(t, err, sql.ErrNoRows)
	}},
	{"NULL goes in and comes out", func(t *testing.T, ctx context.Context, db *sql.DB) {
		var s sql.NullString
		check.OK(t, db.QueryRowContext(ctx, "select $1::text", nil).Scan(&s))
		check.Equal(t, s.Valid, false)
		var i sql.Null[int32]
		check.OK(t, db.QueryRowContext(ctx, "select $1::int4", sql.Null[int32]{V: 7, Valid: true}).Scan(&i))
		check.Equal(t, i, sql.Null[int32]{V: 7, Valid: true})
	}},
	{"slices are arrays", func(t *testing.T, ctx context.Context, db *sql.DB) {
		var n int
		check.OK(t, db.QueryRowContext(ctx, "select count(*) from unnest($1::text[]) x where x = any($2::text[])",
			[]string{"a", "b", "c"}, []string{"a", "c", "z"}).Scan(&n))
		check.Equal(t, n, 2)
		var got []int64
		check.OK(t, db.QueryRowContext(ctx, "select array[3,1,2]::int8[]").Scan(pgtype.NewMap().SQLScanner(&got)))
		check.Equal(t, fmt.Sprint(got), "[3 1 2]")
	}},
	{"arguments have names", func(t *testing.T, ctx context.Context, db *sql.DB) {
		var s string
		check.OK(t, db.QueryRowContext(ctx, "select @greeting::text || ', ' || @name::text",
			pgx.NamedArgs{"greeting": "hello", "name": "world"}).Scan(&s))
		check.Equal(t, s, "hello, world")
	}},
	{"columns tell their types", func(t *testing.T, ctx context.Context, db *sql.DB) {
		rows, err := db.QueryContext(ctx, "select 1::int4 a, 'x'::varchar(9) b, 1.25::numeric(7,2) c, now() d, true e")
		check.OK(t, err)
		defer rows.Close()
		types, err := rows.ColumnTypes()
		check.OK(t, err)
		var got []string
		for _, c := range types {
			length, _ := c.Length()
			precision, scale, _ := c.DecimalSize()
			got = append(got, fmt.Sprintf("%s %s %s %d %d %d", c.Name(), c.DatabaseTypeName(), c.ScanType(), length, precision, scale))
		}
		check.Equal(t, strings.Join(got, "; "), "a INT4 int32 0 0 0; b VARCHAR string 9 0 0; "+
			"c NUMERIC float64 0 7 2; d TIMESTAMPTZ time.Time 0 0 0; e BOOL bool 0 0 0")
	}},
	{"the number of affected rows is told", func(t *testing.T, ctx context.Context, db *sql.DB) {
		exec(t, db, "create temp table if not exists gone(i int)") // the table need not be found again
		res, err := db.ExecContext(ctx, "insert into t select generate_series(1, 5)")
		check.OK(t, err)
		n, err := res.RowsAffected()
		check.OK(t, err)
		check.Equal(t, n, 5)
	}},
	{"a server error is a *pgconn.PgError", func(t *testing.T, ctx context.Context, db *sql.DB) {
		exec(t, db, "create table u(i int primary key)")
		exec(t, db, "insert into u values (1)")
		_, err := db.ExecContext(ctx, "insert into u values (1)")
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) {
			t.Fatalf("%v is no *pgconn.PgError", err)
		}
		check.Equal(t, pgErr.Code, "23505")
		check.Equal(t, pgErr.ConstraintName, "u_pkey")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnique)
	}},
	{"a transaction commits", func(t *testing.T, ctx context.Context, db *sql.DB) {
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		_, err = tx.ExecContext(ctx, "insert into t values (1)")
		check.OK(t, err)
		check.OK(t, tx.Commit())
		check.Equal(t, one[int](t, db, "select count(*) from t"), 1)
		check.Equal(t, tx.Commit(), sql.ErrTxDone)
	}},
	{"a rollback leaves nothing", func(t *testing.T, ctx context.Context, db *sql.DB) {
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		_, err = tx.ExecContext(ctx, "insert into t values (1)")
		check.OK(t, err)
		check.OK(t, tx.Rollback())
		check.Equal(t, one[int](t, db, "select count(*) from t"), 0)
	}},
	{"a transaction has the isolation level and access mode asked for", func(t *testing.T, ctx context.Context, db *sql.DB) {
		for level, name := range map[sql.IsolationLevel]string{
			sql.LevelDefault: "read committed", sql.LevelReadUncommitted: "read uncommitted",
			sql.LevelReadCommitted: "read committed", sql.LevelRepeatableRead: "repeatable read",
			sql.LevelSnapshot: "repeatable read", sql.LevelSerializable: "serializable",
		} {
			for _, readOnly := range []bool{true, false} {
				tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level, ReadOnly: readOnly})
				check.OK(t, err)
				var isolation, mode string
				check.OK(t, tx.QueryRowContext(ctx, "show transaction_isolation").Scan(&isolation))
				check.OK(t, tx.QueryRowContext(ctx, "show transaction_read_only").Scan(&mode))
				check.OK(t, tx.Rollback())
				check.Equal(t, isolation, name)
				check.Equal(t, mode == "on", readOnly)
			}
		}
		_, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelLinearizable})
		if err == nil {
			t.Fatal("PostgreSQL has no such level, and no error says so")
		}
	}},
	{"a failed transaction cannot commit", func(t *testing.T, ctx context.Context, db *sql.DB) {
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		_, err = tx.ExecContext(ctx, "select 1/0")
		check.Equal(t, pgsafe.SQLState(err), "22012")
		_, err = tx.ExecContext(ctx, "select 1")
		check.Equal(t, pgsafe.SQLState(err), "25P02")
		if err := tx.Commit(); err == nil {
			t.Fatal("commit of a failed transaction reported success")
		}
		check.OK(t, db.PingContext(ctx))
	}},
	{"a forgotten transaction ends with its context", func(t *testing.T, ctx context.Context, db *sql.DB) {
		txCtx, cancel := context.WithCancel(ctx)
		tx, err := db.BeginTx(txCtx, nil)
		check.OK(t, err)
		_, err = tx.ExecContext(ctx, "insert into t values (1)")
		check.OK(t, err)
		cancel()
		pgtest.Eventually(t, "the transaction is rolled back and its connection free", func() bool {
			return db.Stats().InUse == 0
		})
		check.Equal(t, one[int](t, db, "select count(*) from t"), 0)
	}},
	{"cancelling the context ends the statement", func(t *testing.T, ctx context.Context, db *sql.DB) {
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error)
		go func() {
			_, err := db.ExecContext(ctx, "select pg_sleep(60)")
			done <- err
		}()
		pgtest.Eventually(t, "the statement runs", func() bool {
			return one[int](t, db, "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and datname = current_database() and state = 'active'") == 1
		})
		cancel()
		err := <-done
		check.Equal(t, errors.Is(err, context.Canceled), true)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindCanceled)
		check.Equal(t, one[int](t, db, "select 1"), 1)
	}},
	{"a deadline ends the statement", func(t *testing.T, ctx context.Context, db *sql.DB) {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_, err := db.ExecContext(ctx, "select pg_sleep(60)")
		check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
		check.Equal(t, pgconn.Timeout(err), true)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindTimeout)
	}},
	{"a context that is done reaches no server", func(t *testing.T, ctx context.Context, db *sql.DB) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		check.Equal(t, db.PingContext(ctx), context.Canceled)
	}},
	{"a prepared statement runs in 20 goroutines", func(t *testing.T, ctx context.Context, db *sql.DB) {
		stmt, err := db.PrepareContext(ctx, "select $1::int * 2")
		check.OK(t, err)
		defer stmt.Close()
		inParallel(t, 20, func(worker int) error {
			for i := range 50 {
				var got int
				if err := stmt.QueryRowContext(ctx, worker+i).Scan(&got); err != nil {
					return err
				}
				if got != 2*(worker+i) {
					return fmt.Errorf("got %d, want %d", got, 2*(worker+i))
				}
			}
			return nil
		})
	}},
	{"a prepared statement runs in a transaction", func(t *testing.T, ctx context.Context, db *sql.DB) {
		stmt, err := db.PrepareContext(ctx, "insert into t values ($1)")
		check.OK(t, err)
		defer stmt.Close()
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		_, err = tx.StmtContext(ctx, stmt).ExecContext(ctx, 1)
		check.OK(t, err)
		inTx, err := tx.PrepareContext(ctx, "select count(*) from t")
		check.OK(t, err)
		var n int
		check.OK(t, inTx.QueryRowContext(ctx).Scan(&n))
		check.Equal(t, n, 1)
		check.OK(t, tx.Rollback())
		check.Equal(t, one[int](t, db, "select count(*) from t"), 0)
	}},
	{"a wrong number of arguments is refused", func(t *testing.T, ctx context.Context, db *sql.DB) {
		stmt, err := db.PrepareContext(ctx, "select $1::int")
		check.OK(t, err)
		defer stmt.Close()
		if _, err := stmt.ExecContext(ctx); err == nil {
			t.Fatal("a statement ran without its argument")
		}
		if _, err := db.ExecContext(ctx, "select $1::int", 1, 2); err == nil {
			t.Fatal("a statement ran with an argument too many")
		}
	}},
	{"a statement that does not parse cannot be prepared", func(t *testing.T, ctx context.Context, db *sql.DB) {
		_, err := db.PrepareContext(ctx, "selec 1")
		check.Equal(t, pgsafe.SQLState(err), "42601")
	}},
	{"a prepared statement closed and prepared again after the table changed runs", func(t *testing.T, ctx context.Context, db *sql.DB) {
		db.SetMaxOpenConns(1)
		stmt, err := db.PrepareContext(ctx, "select * from t")
		check.OK(t, err)
		_, err = stmt.ExecContext(ctx)
		check.OK(t, err)
		exec(t, db, "alter table t add column j int")
		_, err = stmt.ExecContext(ctx)
		if state := pgsafe.SQLState(err); err != nil && state != "0A000" { // with which pgx's own driver fails here
			t.Fatal(err)
		}
		check.OK(t, stmt.Close())
		stmt, err = db.PrepareContext(ctx, "select * from t")
		check.OK(t, err)
		_, err = stmt.ExecContext(ctx)
		check.OK(t, err)
		check.OK(t, stmt.Close())
	}},
	{"rows may be left half read", func(t *testing.T, ctx context.Context, db *sql.DB) {
		db.SetMaxOpenConns(1)
		rows, err := db.QueryContext(ctx, "select generate_series(1, 100000)")
		check.OK(t, err)
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		check.OK(t, rows.Close())
		check.Equal(t, one[int](t, db, "select 1"), 1)
	}},
	{"an error after the first rows is told by Rows.Err", func(t *testing.T, ctx context.Context, db *sql.DB) {
		rows, err := db.QueryContext(ctx, "select 10 / (3 - i) from generate_series(1, 5) i")
		check.OK(t, err)
		n := 0
		for rows.Next() {
			n++
		}
		check.Equal(t, n, 2)
		check.Equal(t, pgsafe.SQLState(rows.Err()), "22012")
		_ = rows.Close() // tells the same error again
	}},
	{"one connection keeps its session", func(t *testing.T, ctx context.Context, db *sql.DB) {
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		_, err = conn.ExecContext(ctx, "create temp table mine as select 1 i")
		check.OK(t, err)
		var i int
		check.OK(t, conn.QueryRowContext(ctx, "select i from mine").Scan(&i))
		check.OK(t, conn.Close())
		check.Equal(t, conn.PingContext(ctx), sql.ErrConnDone)
	}},
	{"Raw reaches *pgx.Conn through the interface", func(t *testing.T, ctx context.Context, db *sql.DB) {
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, conn.Raw(func(driverConn any) error {
			var n int
			return driverConn.(interface{ Conn() *pgx.Conn }).Conn().QueryRow(ctx, "select 1").Scan(&n)
		}))
	}},
	{"COPY goes through Raw", func(t *testing.T, ctx context.Context, db *sql.DB) {
		raw(t, ctx, db, func(c *pgx.Conn) error {
			n, err := c.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"i"}, pgx.CopyFromSlice(1000,
				func(i int) ([]any, error) { return []any{i}, nil }))
			if err == nil && n != 1000 {
				err = fmt.Errorf("copied %d rows", n)
			}
			return err
		})
		check.Equal(t, one[int](t, db, "select count(*) from t"), 1000)
	}},
	{"LISTEN and NOTIFY go through Raw", func(t *testing.T, ctx context.Context, db *sql.DB) {
		raw(t, ctx, db, func(c *pgx.Conn) error {
			if _, err := c.Exec(ctx, "listen news"); err != nil {
				return err
			}
			if _, err := db.ExecContext(ctx, "select pg_notify('news', 'hello')"); err != nil {
				return err
			}
			n, err := c.WaitForNotification(ctx)
			if err == nil && n.Payload != "hello" {
				err = fmt.Errorf("got %q", n.Payload)
			}
			return err
		})
	}},
	{"a batch goes through Raw", func(t *testing.T, ctx context.Context, db *sql.DB) {
		raw(t, ctx, db, func(c *pgx.Conn) error {
			b := &pgx.Batch{}
			for i := range 10 {
				b.Queue("insert into t values ($1)", i)
			}
			return c.SendBatch(ctx, b).Close()
		})
		check.Equal(t, one[int](t, db, "select count(*) from t"), 10)
	}},
	{"an error in Raw is returned as it is", func(t *testing.T, ctx context.Context, db *sql.DB) {
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		defer conn.Close()
		check.Equal(t, pgsafe.Raw(conn, func(*pgx.Conn) error { return io.ErrUnexpectedEOF }), io.ErrUnexpectedEOF)
	}},
	{"database/sql's counters count leases", func(t *testing.T, ctx context.Context, db *sql.DB) {
		db.SetMaxOpenConns(3)
		var conns []*sql.Conn
		for range 3 {
			conn, err := db.Conn(ctx)
			check.OK(t, err)
			conns = append(conns, conn)
		}
		s := db.Stats()
		check.Equal(t, [3]int{s.OpenConnections, s.InUse, s.Idle}, [3]int{3, 3, 0})
		for _, conn := range conns {
			check.OK(t, conn.Close())
		}
		s = db.Stats()
		check.Equal(t, [3]int{s.OpenConnections, s.InUse, s.Idle}, [3]int{2, 0, 2})
		check.Equal(t, s.MaxIdleClosed, 1)
	}},
}

func TestDropIn(t *testing.T) {
	for _, driverName := range []string{"pgx", pgsafe.DriverName, pgsafe.AliasName} {
		t.Run(driverName, func(t *testing.T) {
			for _, c := range dropIn {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					db := open(t, driverName, pgtest.Shared(t).Database(t))
					exec(t, db, "create table t(i int)")
					c.run(t, t.Context(), db)
				})
			}
		})
	}
}

func TestNativeConn(t *testing.T) {
	t.Run("the bare cast of an old application holds with pgsafe_conn=native", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pgsafe_conn=native"))
		checkBareCast(t, db)
	})
	t.Run("the bare cast holds with WithNativeConn", func(t *testing.T) {
		t.Parallel()
		db, err := pgsafe.Open(pgtest.Shared(t).Database(t), pgsafe.WithNativeConn())
		check.OK(t, err)
		defer db.Close()
		checkBareCast(t, db)
	})
	t.Run("its cap holds through Open", func(t *testing.T) {
		t.Parallel()
		db, err := pgsafe.Open(pgtest.Shared(t).Database(t), pgsafe.WithNativeConn(),
			pgsafe.WithProfile(pgsafe.Profile{MaxConns: 3}))
		check.OK(t, err)
		defer db.Close()
		inParallel(t, 20, func(int) error {
			_, err := db.ExecContext(t.Context(), "select pg_sleep(0.01)")
			return err
		})
		c, _ := pgsafe.ConnectorOf(db)
		if opened := c.Stats().Opened; opened > 3 {
			t.Fatalf("%d connections were opened, the cap is 3", opened)
		}
	})
}

func checkBareCast(t *testing.T, db *sql.DB) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	check.OK(t, err)
	defer conn.Close()
	check.OK(t, conn.Raw(func(driverConn any) error {
		if got := reflect.TypeOf(driverConn).String(); got != "*stdlib.Conn" {
			return fmt.Errorf("the driver's connection is a %s", got)
		}
		return nil
	}))
	check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error { return c.Ping(t.Context()) }))
}

func TestRegister(t *testing.T) {
	t.Run("a further name has options of its own", func(t *testing.T) {
		pgsafe.Register("pgsafe-with-hook", pgsafe.WithAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "set search_path = 'set by the option'")
			return err
		}))
		db := open(t, "pgsafe-with-hook", pgtest.Shared(t).Database(t))
		check.Equal(t, one[string](t, db, "show search_path"), `"set by the option"`)

		connector, err := db.Driver().(driver.DriverContext).OpenConnector(pgtest.Shared(t).Database(t))
		check.OK(t, err)
		another := sql.OpenDB(connector)
		defer another.Close()
		check.Equal(t, one[string](t, another, "show search_path"), `"set by the option"`)
	})
	t.Run("a name that is taken is left alone", func(t *testing.T) {
		pgsafe.Register("pgx")
		if !slices.Contains(sql.Drivers(), "pgx") {
			t.Fatal("pgx is gone")
		}
		db := open(t, "pgx", "host=localhost")
		if _, ok := pgsafe.ConnectorOf(db); ok {
			t.Fatal("pgsafe took the name pgx")
		}
	})
}

func TestDriverOpen(t *testing.T) {
	t.Run("a connection without database/sql closes its pool with it", func(t *testing.T) {
		uri := pgtest.Shared(t).Database(t)
		conn, err := (&pgsafe.Driver{}).Open(uri)
		check.OK(t, err)
		check.OK(t, conn.Close())
		w := watch(t, uri)
		pgtest.Eventually(t, "no connection is left", func() bool { return w.backends() == 0 })
	})
	t.Run("the calls without a context work", func(t *testing.T) {
		conn, err := (&pgsafe.Driver{}).Open(pgtest.Shared(t).Database(t))
		check.OK(t, err)
		defer conn.Close()
		if _, ok := conn.(interface {
			driver.ConnBeginTx
			driver.ExecerContext
			driver.QueryerContext
			driver.NamedValueChecker
			Conn() *pgx.Conn
		}); !ok {
			t.Errorf("%T lacks what pgx's has", conn)
		}
		//lint:ignore SA1019 it is what every driver.Conn must have
		tx, err := conn.Begin()
		check.OK(t, err)
		check.OK(t, tx.Rollback())
		stmt, err := conn.Prepare("select 1")
		check.OK(t, err)
		check.OK(t, stmt.Close())
	})
	t.Run("Raw refuses another driver's connection", func(t *testing.T) {
		db := sql.OpenDB(foreign{})
		defer db.Close()
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		if err := pgsafe.Raw(conn, func(*pgx.Conn) error { return nil }); err == nil {
			t.Error("no error")
		}
	})
	t.Run("Open refuses a bad string", func(t *testing.T) {
		_, err := pgsafe.Open("postgres://h:port/db")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
	})
	t.Run("a bad string is a *DSNError", func(t *testing.T) {
		_, err := (&pgsafe.Driver{}).Open("postgres://h:port/db")
		var dsnErr *pgsafe.DSNError
		check.Equal(t, errors.As(err, &dsnErr), true)
	})
	t.Run("a server that cannot be reached leaves nothing behind", func(t *testing.T) {
		_, err := (&pgsafe.Driver{}).Open(fmt.Sprintf("postgres://u@127.0.0.1:%d/db", pgtest.ClosedPort(t)))
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})
}

// foreign is another driver, of which only the type matters.
type foreign struct{ driver.Conn }

func (f foreign) Connect(context.Context) (driver.Conn, error) { return f, nil }
func (f foreign) Driver() driver.Driver                        { return nil }
func (f foreign) Close() error                                 { return nil }

// open opens a database and closes it with the test.
func open(t testing.TB, driverName, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driverName, dsn)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, db.Close()) })
	return db
}

// with adds parameters to a URI.
func with(uri string, params ...string) string {
	sep := "?"
	if strings.Contains(uri, "?") {
		sep = "&"
	}
	return uri + sep + strings.Join(params, "&")
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	check.OK(t, err)
}

// one runs a query of one value.
func one[T any](t testing.TB, db *sql.DB, query string, args ...any) T {
	t.Helper()
	var v T
	check.OK(t, db.QueryRowContext(t.Context(), query, args...).Scan(&v))
	return v
}

func raw(t testing.TB, ctx context.Context, db *sql.DB, f func(*pgx.Conn) error) {
	t.Helper()
	conn, err := db.Conn(ctx)
	check.OK(t, err)
	defer conn.Close()
	check.OK(t, conn.Raw(func(driverConn any) error {
		return f(driverConn.(interface{ Conn() *pgx.Conn }).Conn())
	}))
}

// inParallel runs f n times at once and fails with the first error.
func inParallel(t testing.TB, n int, f func(worker int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for _, err := range errs {
		check.OK(t, err)
	}
}
