package pgsafe_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// Every mode of pgx, as default_query_exec_mode has it.
var execModes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}

// pgx encodes a map as JSON only if the server has said that the parameter is of type jsonb
// (pgtype, JSONCodec.PlanEncode). Its own prepared statements know the type in each mode
// (stdlib.Conn.PrepareContext).
func TestArgumentsOfPreparedStatements(t *testing.T) {
	for _, mode := range execModes {
		t.Run("a prepared statement encodes its arguments by the server's types with default_query_exec_mode="+mode, func(t *testing.T) {
			t.Parallel()
			for _, driverName := range []string{"pgx", pgsafe.DriverName} {
				db := open(t, driverName, with(pgtest.Shared(t).Database(t), "default_query_exec_mode="+mode))
				stmt, err := db.PrepareContext(t.Context(), "select $1::jsonb ->> 'a'")
				check.OK(t, err)
				defer stmt.Close()
				var a string
				check.OK(t, stmt.QueryRowContext(t.Context(), map[string]any{"a": "b"}).Scan(&a))
				check.Equal(t, a, "b")
				_, err = stmt.ExecContext(t.Context(), []byte(`{"a": "b"}`))
				check.OK(t, err)
			}
		})
	}
	t.Run("a prepared statement needs no cache of statements or descriptions", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t),
			"default_query_exec_mode=exec", "statement_cache_capacity=0", "description_cache_capacity=0"))
		stmt, err := db.PrepareContext(t.Context(), "select $1::jsonb ->> 'a'")
		check.OK(t, err)
		defer stmt.Close()
		var a string
		check.OK(t, stmt.QueryRowContext(t.Context(), map[string]any{"a": "b"}).Scan(&a))
		check.Equal(t, a, "b")
	})
}

func TestPreparedStatementsAreBounded(t *testing.T) {
	const capacity = 10
	for name, run := range map[string]func(*sql.Stmt) error{
		"are closed without a run":        func(*sql.Stmt) error { return nil },
		"run without arguments":           func(s *sql.Stmt) error { _, err := s.Exec(); return err },
		"run without arguments, for rows": func(s *sql.Stmt) error { var n int; return s.QueryRow().Scan(&n) },
	} {
		t.Run("prepared statements that "+name+" leave at most two caches on the server", func(t *testing.T) {
			t.Parallel()
			db := open(t, pgsafe.DriverName,
				with(pgtest.Shared(t).Database(t), fmt.Sprintf("statement_cache_capacity=%d", capacity), "pool_max_conns=1"))
			for i := range 10 * capacity {
				stmt, err := db.PrepareContext(t.Context(), fmt.Sprintf("select %d", i))
				check.OK(t, err)
				check.OK(t, run(stmt))
				check.OK(t, stmt.Close())
			}
			n := one[int](t, db, "select count(*) from pg_prepared_statements where statement ~ '^select [0-9]+$'")
			if n > 2*capacity {
				t.Errorf("%d statements are left on the server", n)
			}
		})
	}
}
