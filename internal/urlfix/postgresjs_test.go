package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestPostgresJSURIs(t *testing.T) {
	checkMeaning(t, []means{
		{"hosts with ports", as("postgresjs", "postgres://u:p@h1:1,h2:2/db"), "postgres://u:p@h1:1,h2:2/db"},
		{"an unknown key is a server setting", as("postgresjs", "postgres://h/db?search_path=a&application_name=x"),
			"postgres://h/db?application_name=x&options=-c%20search_path%3Da"},
		{"the database before the query wins", as("postgresjs", "postgres://h/a?database=b"), "postgres://h/a"},
		{"a socket directory", as("postgresjs", "postgres://%2Fvar%2Frun/db"), "postgres://%2Fvar%2Frun/db"},
		{"a plus in the query is a blank", as("postgresjs", "postgres://h/db?options=-c+a.b%3D1"),
			"postgres://h/db?options=-c%20a.b%3D1"},
	})
	checkRefusal(t, []refusal{
		{"two hosts", as("postgresjs", "postgres://h/db?host=h2"), urlfix.CodeConflict, "host"},
		{"no target_session_attrs", as("postgresjs", "postgres://h/db?target_session_attrs=master"), urlfix.CodeValue,
			"target_session_attrs"},
	})
}

func TestPostgresJSParameters(t *testing.T) {
	const s = "postgres://h/db?" // every key is its own, or shared with one that means the same
	checkBeside(t, []beside{
		{"the pool", s + "max=5&idle_timeout=20&max_lifetime=1800",
			"pool_max_conns=5 pool_max_conn_idle_time=20s pool_max_conn_lifetime=1800s"},
		{"fractions of a second", s + "max_lifetime=0.25", "pool_max_conn_lifetime=250ms"},
		{"times without an end", s + "idle_timeout=0&max_lifetime=0", ""},
		{"no prepared statements", s + "prepare=false", "default_query_exec_mode=exec"},
		{"no prepared statements, by name", as("postgresjs", s+"prepare=false"), "default_query_exec_mode=exec"},
		{"prepared statements", s + "prepare=true", ""},
	})
	checkMeaning(t, []means{
		{"keeping alive", s + "keep_alive=30", "postgres://h/db?keepalives_idle=30"},
		{"not keeping alive", s + "keep_alive=0", "postgres://h/db?keepalives=0"},
		{"connect_timeout is libpq's", s + "connect_timeout=3&max=1", "postgres://h/db?connect_timeout=3"},
		{"keys without effect", s + "max_pipeline=10&fetch_types=false&debug=true", "postgres://h/db"},
	})
	checkWarnings(t, []noted{
		{"delays", s + "backoff=1", "backoff"},
		{"publications", s + "publications=x", "publications"},
	})
	checkRefusal(t, []refusal{
		{"no room in the pool", s + "max=0", urlfix.CodeValue, "max"},
		{"a time that is none", s + "max_lifetime=NaN", urlfix.CodeValue, "max_lifetime"},
		{"a time that is no number", s + "idle_timeout=5m", urlfix.CodeValue, "idle_timeout"},
		{"a negative time", s + "max_lifetime=-5", urlfix.CodeValue, "max_lifetime"},
		{"a time that is too long", s + "max_lifetime=1e300", urlfix.CodeValue, "max_lifetime"},
		{"no number", s + "keep_alive=x", urlfix.CodeValue, "keep_alive"},
	})
}

// TestPostgresJSModes: require, allow and prefer do not check the certificate, every other text does.
func TestPostgresJSModes(t *testing.T) {
	in := func(query string) string { return as("postgresjs", "postgres://h/db?"+query) }
	const to = "postgres://h/db?sslmode="
	checkMeaning(t, []means{
		{"ssl=true is verify-full", in("ssl=true"), to + "verify-full"},
		{"ssl=verify-full", in("ssl=verify-full"), to + "verify-full"},
		{"ssl=no-verify, which it does not know, is verify-full", in("ssl=no-verify"), to + "verify-full"},
		{"sslmode=verify-ca, which it does not know, is verify-full", in("sslmode=verify-ca"), to + "verify-full"},
		{"ssl=require", in("ssl=require"), to + "require"},
		{"ssl=allow never falls back to plain text", in("ssl=allow"), to + "require"},
		{"sslmode=allow never falls back to plain text", in("sslmode=allow"), to + "require"},
		{"sslmode=prefer", in("sslmode=prefer"), to + "prefer"},
		{"ssl=disable", in("ssl=disable"), to + "disable"},
		{"ssl=false", in("ssl=false"), to + "disable"},
		{"ssl and sslmode alike", in("ssl=allow&sslmode=require"), to + "require"},
		{"the system's roots imply verify-full", in("sslmode=prefer&sslrootcert=system"),
			"postgres://h/db?sslrootcert=system&sslmode=verify-full"},
		{"the system's roots alone", in("sslrootcert=system"), "postgres://h/db?sslrootcert=system&sslmode=verify-full"},

		{"sslmode=allow in a plain URI with postgres.js's keys", "postgres://h/db?sslmode=allow&fetch_types=false",
			to + "require"},
		{"sslmode=verify-ca in a plain URI with postgres.js's keys", "postgres://h/db?sslmode=verify-ca&fetch_types=false",
			to + "verify-full"},
		{"sslmode=no-verify in a plain URI with postgres.js's keys", "postgres://h/db?sslmode=no-verify&fetch_types=false",
			to + "verify-full"},
		{"ssl=true in a plain URI with postgres.js's keys", "postgres://h/db?ssl=true&fetch_types=false", to + "verify-full"},
		{"sslmode=allow in a plain URI with keys that other tools share", "postgres://h/db?sslmode=allow&max=1",
			to + "allow"},
	})
	checkRefusal(t, []refusal{
		{"ssl and sslmode that differ", in("ssl=require&sslmode=disable"), urlfix.CodeConflict, "sslmode"},
		{"a word for off that it takes for on", in("ssl=0"), urlfix.CodeValue, "ssl"},
		{"an empty sslmode", in("sslmode="), urlfix.CodeValue, "sslmode"},
	})
}

func TestPostgresJSChangesAreReported(t *testing.T) {
	checkChanges(t, []noted{
		{"ssl", as("postgresjs", "postgres://h/db?ssl=require"), "ssl"},
		{"a mode of its own", as("postgresjs", "postgres://h/db?sslmode=allow"), "sslmode"},
		{"a mode that is libpq's", as("postgresjs", "postgres://h/db?sslmode=require"), ""},
		{"keeping alive", "postgres://h/db?keep_alive=30", "keep_alive"},
		{"not keeping alive", "postgres://h/db?keep_alive=0", "keep_alive"},
	})
}
