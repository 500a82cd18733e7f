package pgsafe_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// heldConn returns a *sql.Conn of a database that has been in use.
func heldConn(t testing.TB, uri string) *sql.Conn {
	t.Helper()
	db := open(t, pgsafe.DriverName, uri)
	check.OK(t, db.PingContext(t.Context()))
	return sqlConn(t, db)
}

// A *sql.Conn lets other statements through while its rows are open, and it waits for its rows when
// a statement fails with driver.ErrBadConn (Conn.grabConn and Conn.close).
func TestStatementsWhileRowsAreOpen(t *testing.T) {
	for name, run := range map[string]func(ctx context.Context, conn *sql.Conn) error{
		"a statement": func(ctx context.Context, c *sql.Conn) error { _, err := c.ExecContext(ctx, "select 1"); return err },
		"a statement with a new text": func(ctx context.Context, c *sql.Conn) error {
			return c.QueryRowContext(ctx, "select 1 where $1", true).Err()
		},
		"db.Prepare": func(ctx context.Context, c *sql.Conn) error { _, err := c.PrepareContext(ctx, "select 2"); return err },
		"BEGIN":      func(ctx context.Context, c *sql.Conn) error { _, err := c.BeginTx(ctx, nil); return err },
		"a ping":     func(ctx context.Context, c *sql.Conn) error { return c.PingContext(ctx) },
	} {
		t.Run("rows that are open survive "+name+" on their sql.Conn, which is refused", func(t *testing.T) {
			t.Parallel()
			conn := heldConn(t, pgtest.Shared(t).Database(t))
			rows, err := conn.QueryContext(t.Context(), "select i from generate_series(1, $1::int) i", 1000)
			check.OK(t, err)
			defer rows.Close()
			err = run(t.Context(), conn)
			if err == nil || !strings.Contains(err.Error(), "rows of an earlier query are still open") {
				t.Errorf("the error is %v", err)
			}
			n := 0
			for rows.Next() {
				n++
			}
			check.OK(t, rows.Err())
			check.Equal(t, n, 1000)
			check.OK(t, run(t.Context(), conn))
		})
	}
	t.Run("goroutines that share a sql.Conn never see each other's rows", func(t *testing.T) {
		t.Parallel()
		conn := heldConn(t, pgtest.Shared(t).Database(t))
		inParallel(t, 8, func(worker int) error {
			for range 100 {
				n := worker
				err := conn.QueryRowContext(t.Context(), "select $1::int", worker).Scan(&n)
				if err != nil && !strings.Contains(err.Error(), "rows of an earlier query are still open") {
					return err
				}
				check.Equal(t, n, worker)
			}
			return nil
		})
	})
	t.Run("a statement on a lost connection whose rows are open reports the loss and does not wait for them", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		conn := heldConn(t, uri)
		rows, err := conn.QueryContext(t.Context(), "select 1 where false") // the server has ended them already
		check.OK(t, err)
		defer rows.Close()
		watch(t, uri).terminate()
		_, err = conn.ExecContext(t.Context(), "select $1::int", 1)
		check.Equal(t, pgsafe.SQLState(err), "57P01")
	})
}
