package pgsafe_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// changing is a database with a table, and a statement of which the server has a plan.
func changing(t testing.TB) (*sql.DB, *sql.Stmt) {
	t.Helper()
	db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
	exec(t, db, "create table t as select 1 as a")
	stmt, err := db.PrepareContext(t.Context(), "select * from t where a = $1")
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, stmt.Close()) })
	check.OK(t, stmt.QueryRowContext(t.Context(), 1).Scan(new(int)))
	check.OK(t, db.QueryRowContext(t.Context(), "select * from t").Scan(new(int)))
	return db, stmt
}

// The server refuses a plan whose result has other columns now (plancache.c,
// RevalidateCachedQuery). gorm's AutoMigrate runs into it, as it looks at a table, changes the
// table, and looks again.
func TestTableThatChanges(t *testing.T) {
	t.Run("a query whose table has another column now is planned anew", func(t *testing.T) {
		t.Parallel()
		db, stmt := changing(t)
		exec(t, db, "alter table t add column b int default 2")
		var a, b int
		check.OK(t, db.QueryRowContext(t.Context(), "select * from t").Scan(&a, &b))
		check.Equal(t, [2]int{a, b}, [2]int{1, 2})
		exec(t, db, "alter table t drop column b")
		check.OK(t, stmt.QueryRowContext(t.Context(), 1).Scan(&a))
	})
	t.Run("a statement of db.Prepare whose table has another column now is planned anew", func(t *testing.T) {
		t.Parallel()
		db, stmt := changing(t)
		for _, change := range []string{"alter table t add column b int", "alter table t drop column b"} {
			exec(t, db, change)
			_, err := stmt.ExecContext(t.Context(), 1)
			check.OK(t, err)
		}
		var a int
		check.OK(t, stmt.QueryRowContext(t.Context(), 1).Scan(&a))
	})
	t.Run("a statement that the server has forgotten is planned anew", func(t *testing.T) {
		t.Parallel()
		db, stmt := changing(t)
		exec(t, db, "do $$ begin execute 'deallocate all'; end $$")
		check.OK(t, stmt.QueryRowContext(t.Context(), 1).Scan(new(int)))
		check.OK(t, db.QueryRowContext(t.Context(), "select * from t").Scan(new(int)))
	})
	t.Run("a statement within a transaction reports that its plan is refused", func(t *testing.T) {
		t.Parallel()
		db, _ := changing(t)
		exec(t, db, "alter table t add column b int")
		tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
		check.OK(t, err)
		defer tx.Rollback()
		err = tx.QueryRowContext(t.Context(), "select * from t").Scan(new(int))
		check.Equal(t, pgsafe.SQLState(err), "0A000")
	})
}
