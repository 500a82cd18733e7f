package sqltext_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

const anySetting = sqltext.Settings | sqltext.Role

// effects lists texts by the effects that they have.
var effects = []struct {
	shows string
	state sqltext.State
	texts []string
}{
	{"settings", sqltext.Settings, []string{
		"SET TIME ZONE 'UTC'", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "RESET ALL", "reset app.tenant",
	}},
	{"a setting whose name may be that of the role", anySetting, []string{
		"SET app.tenant = 7", "set session search_path to a, b", "SET role TO joe", "SET role = joe",
		"/* c */ SET a = 1", "SELECT 1; SET a = 1", "SELECT set_config('app.tenant', '7', false)",
		`select "set_config"($1, $2, $3)`, "SELECT set_config('a', 'b', NOT TRUE)",
		"SELECT set_config('a', 'b', is_local => f(true)", "SELECT pg_catalog.set_config(a, b, c IS TRUE) FROM t WHERE d",
		"WITH x AS (SELECT set_config('a', f(true), false)) SELECT * FROM x",
		"UPDATE t SET a = 1; SET b = 2", "SELECT set_config('a', 'b', true), set_config('c', 'd', false)",
	}},
	{"a role", sqltext.Role, []string{
		"SET ROLE joe", "SET SESSION ROLE joe", "SET SESSION AUTHORIZATION joe", "RESET ROLE", "RESET SESSION AUTHORIZATION",
	}},
	{"LISTEN", sqltext.Listening, []string{"LISTEN c", "listen \"C\""}},
	{"temporary objects", sqltext.Temporary, []string{
		"CREATE TEMP TABLE t (a int)", "create local temporary table t as select 1", "CREATE TEMP VIEW v AS SELECT 1",
		"CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS", "CREATE TABLE pg_temp.t (a int)",
		`CREATE TABLE IF NOT EXISTS "pg_temp".t (a int)`,
		"SELECT 1 INTO TEMP t", "SELECT 1 INTO TEMPORARY TABLE t", "SELECT 1 INTO pg_temp.t", "CREATE TEMP SEQUENCE s",
	}},
	{"session-level locks", sqltext.Locks, []string{
		"SELECT pg_advisory_lock(1)", "SELECT PG_TRY_ADVISORY_LOCK($1)",
		"SELECT * FROM pg_catalog.pg_advisory_lock_shared(1, 2)",
		"SELECT pg_try_advisory_lock_shared(1) FROM t",
	}},
	{"cursors", sqltext.Cursors, []string{"DECLARE c CURSOR WITH HOLD FOR SELECT 1"}},
	{"statements of PREPARE", sqltext.Prepared, []string{"PREPARE p AS SELECT 1"}},
	{"deallocated statements of the driver", sqltext.Deallocated, []string{"DEALLOCATE ALL", "deallocate prepare all"}},
	{"the stale settings and deallocated statements of DISCARD ALL", anySetting | sqltext.Deallocated,
		[]string{"DISCARD ALL"}},
	{"two effects at once", sqltext.Listening | sqltext.Locks, []string{"LISTEN c; SELECT pg_advisory_lock(1)"}},
	{"none", 0, []string{
		"", "SELECT 1", "SELECT a FROM t OFFSET 5", "UPDATE t SET a = 1", "/* c */ UPDATE t SET a = 1",
		"INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 2", "SET LOCAL app.tenant = 7", "SET LOCAL ROLE joe",
		"SET TRANSACTION READ ONLY", "SET CONSTRAINTS ALL DEFERRED", "SELECT set_config('app.tenant', '7', true)",
		"SELECT set_config($1, $2, TRUE)", "SELECT pg_advisory_xact_lock(1)", "SELECT pg_advisory_unlock(1)", "UNLISTEN *",
		"CREATE TEMP TABLE t (a int) ON COMMIT DROP", "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1",
		"DECLARE c CURSOR FOR SELECT 1", "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1", "PREPARE TRANSACTION 'x'",
		"DEALLOCATE p", "DISCARD TEMP", "DISCARD PLANS", "BEGIN", "COMMIT", "LOAD 'lib'",
		"SELECT 'SET a = 1; LISTEN c'", "SELECT 1 -- ; SET a = 1", "SELECT temp, hold FROM listen",
		"CREATE FUNCTION f() RETURNS text SET search_path = a LANGUAGE sql AS 'select set_config(''a'', ''b'', false)'",
		"ALTER ROLE joe SET app.tenant = 7", "SELECT set_config",
	}},
}

func TestEffectsOfATextAreRead(t *testing.T) {
	for _, group := range effects {
		t.Run("a text has the effects: "+group.shows, func(t *testing.T) {
			for _, text := range group.texts {
				if got := sqltext.Read(text).Leaves; got != group.state {
					t.Errorf("Read(%q) has the effects %v, want %v", text, got.Names(), group.state.Names())
				}
				if group.state != 0 && !sqltext.MayLeave(text) {
					t.Errorf("MayLeave(%q) is false", text)
				}
			}
		})
	}
	t.Run("a statement inside another has its usual effects", func(t *testing.T) {
		if got := sqltext.Read("EXPLAIN ANALYZE SELECT pg_advisory_lock(1)").Leaves; got != sqltext.Locks {
			t.Errorf("its effects are %v", got.Names())
		}
	})
	t.Run("a text that is not read, or may be misread, is judged by its words", func(t *testing.T) {
		for _, group := range effects {
			for _, text := range group.texts {
				for _, before := range []string{
					`SELECT '\'; `, "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END; ",
					"SELECT '" + strings.Repeat("x", 20<<10) + "'; ",
				} {
					whole := before + text
					guessed := sqltext.GuessUnread(whole)
					if sqltext.Doubtful(whole) {
						guessed |= sqltext.Guess(whole)
					}
					if missing := group.state &^ guessed; missing != 0 {
						t.Errorf("Guess(%.60q... %q) misses %v", before, text, missing.Names())
					}
				}
			}
		}
		for _, text := range []string{`SELECT '\d', threshold, template FROM households`, `UPDATE t SET a = '\'`,
			"SELECT 'x'; SELECT 'y'"} {
			if got := sqltext.Guess(text); got != 0 {
				t.Errorf("Guess(%q) is %v", text, got.Names())
			}
		}
		if sqltext.GuessUnread("SET a = 1") != 0 || sqltext.Doubtful("SET a = 1") {
			t.Error("a short, plain text is not taken to be read")
		}
	})
	t.Run("most texts are known to have no effects without being read", func(t *testing.T) {
		for _, text := range []string{"SELECT a FROM t OFFSET 5", "UPDATE t SET a = 1", "BEGIN", "COMMIT", "SELECT 1"} {
			if sqltext.MayLeave(text) {
				t.Errorf("MayLeave(%q) is true", text)
			}
		}
	})
	t.Run("each effect has a name", func(t *testing.T) {
		names := (^sqltext.State(0)).Names()
		slices.Sort(names)
		if len(slices.Compact(names)) != 8 || slices.Contains(names, "") {
			t.Errorf("the names are %q", names)
		}
	})
}

// FuzzMayLeave looks for a text with effects for which MayLeave reports false.
func FuzzMayLeave(f *testing.F) {
	for _, group := range effects {
		for _, text := range group.texts {
			f.Add(text)
			f.Add("select 1;" + text)
			f.Add(strings.ToUpper(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if left := sqltext.Read(text).Leaves; left != 0 && !sqltext.MayLeave(text) {
			t.Errorf("%q has the effects %v", text, left.Names())
		}
	})
}
