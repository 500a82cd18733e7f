package pgsafe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// staysOpen returns some rows and then waits. The server sends its buffer when that is full (pqcomm.c,
// internal_putbytes).
const staysOpen = "select repeat('x', 1000), case when n = 100 then pg_sleep(60) end from generate_series(1, 100) n"

// driverRows are the ways in which database/sql gets rows from the driver.
var driverRows = map[string]func(context.Context, any) (driver.Rows, error){
	"a query": func(ctx context.Context, conn any) (driver.Rows, error) {
		return conn.(driver.QueryerContext).QueryContext(ctx, staysOpen, nil)
	},
	"a prepared statement": func(ctx context.Context, conn any) (driver.Rows, error) {
		stmt, err := conn.(driver.ConnPrepareContext).PrepareContext(ctx, staysOpen)
		if err != nil {
			return nil, err
		}
		return stmt.(driver.StmtQueryContext).QueryContext(ctx, nil)
	},
}

func TestRowsOfACancelledQuery(t *testing.T) {
	for name, query := range driverRows {
		t.Run("end with an error that is the context's and the server's: those of "+name, func(t *testing.T) {
			t.Parallel()
			db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
			withRows(t, db, query, func(rows driver.Rows, cancel func()) {
				dest := make([]driver.Value, len(rows.Columns()))
				check.OK(t, rows.Next(dest))
				cancel()
				checkCancelled(t, lastOf(rows), context.Canceled)
				checkCancelled(t, rows.Close(), context.Canceled)
			})
			withRows(t, db, query, func(rows driver.Rows, cancel func()) {
				cancel()
				checkCancelled(t, rows.Close(), context.Canceled)
			})
			exec(t, db, "select 1")
			check.Equal(t, statsOf(t, db).Opened, 1)
		})
	}
	t.Run("never end with the server's error alone", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		var cancelled atomic.Int64
		inParallel(t, 8, func(int) error {
			for range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				rows, err := db.QueryContext(ctx, staysOpen)
				cancel()
				for err == nil && rows.Next() {
				}
				if err == nil {
					err = errors.Join(rows.Err(), rows.Close())
				}
				if !errors.Is(err, context.Canceled) {
					return fmt.Errorf("got %w", err)
				}
				cancelled.Add(1)
			}
			return nil
		})
		t.Logf("%d queries cancelled", cancelled.Load())
	})
}

// withRows runs f with rows, and a function that ends their context, as the driver has made them.
func withRows(t *testing.T, db *sql.DB, query func(context.Context, any) (driver.Rows, error), f func(driver.Rows, func())) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	check.OK(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	check.OK(t, conn.Raw(func(driverConn any) error {
		rows, err := query(ctx, driverConn)
		if err == nil {
			f(rows, cancel)
		}
		return err
	}))
	check.OK(t, conn.Close())
}

// lastOf reads the rows to their end and returns what they end with.
func lastOf(rows driver.Rows) error {
	dest := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(dest); err != nil {
			return err
		}
	}
}

func TestRows(t *testing.T) {
	t.Run("have all methods of pgx's", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		withRows(t, db, driverRows["a query"], func(rows driver.Rows, cancel func()) {
			for method := range reflect.TypeFor[*stdlib.Rows]().Methods() {
				if _, ok := reflect.TypeOf(rows).MethodByName(method.Name); !ok {
					t.Errorf("%s is missing", method.Name)
				}
			}
			cancel()
			_ = rows.Close()
		})
	})
	t.Run("that have ended but are open are not those of the next query", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		none, err := tx.QueryContext(t.Context(), "select n from generate_series(1, 0) n")
		check.OK(t, err)
		rows, err := tx.QueryContext(t.Context(), "select n from generate_series(1, 3) n")
		check.OK(t, err)
		check.Equal(t, rows.Next(), true)
		check.Equal(t, none.Next(), false)
		check.OK(t, errors.Join(none.Err(), none.Close()))
		left := 0
		for rows.Next() {
			left++
		}
		check.Equal(t, left, 2)
		check.OK(t, errors.Join(rows.Err(), rows.Close(), tx.Commit()))
	})
	t.Run("are lent again by a lease, and tell their end each time", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		check.OK(t, conn.Raw(func(driverConn any) error {
			var first driver.Rows
			for range 2 {
				rows, err := driverConn.(driver.QueryerContext).QueryContext(t.Context(), "select 1", nil)
				check.OK(t, err)
				check.Equal(t, errors.Is(lastOf(rows), io.EOF), true)
				check.OK(t, rows.Close())
				check.OK(t, rows.Close()) // otherwise than database/sql
				check.Equal(t, first == nil || first == rows, true)
				first = rows
			}
			return nil
		}))
		check.OK(t, conn.Close())
	})
	t.Run("of a connection that breaks end with an error of kind unavailable", func(t *testing.T) {
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, proxy.URI("postgres"))
		rows, err := db.QueryContext(t.Context(), staysOpen)
		check.OK(t, err)
		check.Equal(t, rows.Next(), true)
		proxy.Cut()
		for rows.Next() {
		}
		check.Equal(t, pgsafe.KindOf(rows.Err()), pgsafe.KindUnavailable)
		check.Equal(t, errors.Is(rows.Err(), driver.ErrBadConn), false)
		check.Equal(t, pgsafe.KindOf(rows.Close()), pgsafe.KindNone) // they were closed at their end
		exec(t, db, "select 1")
		check.Equal(t, statsOf(t, db).Opened, 2)
	})
}
