package pgsafe_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// sqlConn returns a *sql.Conn with a connection that has answered.
func sqlConn(t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	check.OK(t, err)
	t.Cleanup(func() { conn.Close() })
	check.OK(t, conn.PingContext(t.Context()))
	return conn
}

// database/sql repeats a prepared statement of a *sql.Conn after driver.ErrBadConn, at which it
// closes the *sql.Conn, so that the caller would see sql.ErrConnDone only (Stmt.ExecContext,
// Conn.closemuRUnlockCondReleaseConn).
func TestPreparedStatementOfALostConnection(t *testing.T) {
	for name, run := range map[string]func(stmt *sql.Stmt) error{
		"Exec":  func(stmt *sql.Stmt) error { _, err := stmt.Exec(1); return err },
		"Query": func(stmt *sql.Stmt) error { return stmt.QueryRow(1).Scan(new(int)) },
	} {
		t.Run("a prepared statement of a sql.Conn reports to "+name+" why the server ended the connection", func(t *testing.T) {
			t.Parallel()
			uri := pgtest.Shared(t).Database(t)
			db := open(t, pgsafe.DriverName, uri)
			check.OK(t, db.PingContext(t.Context()))
			conn := sqlConn(t, db)
			stmt, err := conn.PrepareContext(t.Context(), "select $1::int")
			check.OK(t, err)
			defer stmt.Close()
			watch(t, uri).terminate()
			for range 2 {
				err = run(stmt)
				check.Equal(t, pgsafe.SQLState(err), "57P01")
				check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
			}
			_, err = conn.ExecContext(t.Context(), "select 1")
			check.Equal(t, pgsafe.SQLState(err), "57P01")
			_, err = conn.ExecContext(t.Context(), "select 1")
			check.Equal(t, errors.Is(err, sql.ErrConnDone), true)
		})
	}
	t.Run("COMMIT reports why the server ended the connection before it", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		watch(t, uri).terminate()
		_, err = tx.ExecContext(t.Context(), "select 1")
		check.Equal(t, pgsafe.SQLState(err), "57P01")
		err = tx.Commit()
		check.Equal(t, pgsafe.SQLState(err), "57P01")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindUnavailable)
	})
}

func TestLossOfAConnectionThatHasWorked(t *testing.T) {
	t.Run("the loss of a connection at its first user is no failure to connect", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		check.OK(t, db.PingContext(t.Context()))
		w := watch(t, uri)
		for range 3 {
			conn := sqlConn(t, db)
			w.terminate()
			_, err := conn.ExecContext(t.Context(), "select 1")
			check.Equal(t, pgsafe.SQLState(err), "57P01")
			check.OK(t, conn.Close())
		}
		check.Equal(t, statsOf(t, db).Failed, 0)
	})
}
