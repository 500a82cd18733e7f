package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestAsyncpgURIs(t *testing.T) {
	in := func(dsn string) string { return as("asyncpg", dsn) }
	checkMeaning(t, []means{
		{"hosts with ports", in("postgresql://user@host1:1111,host2:2222/db"), "postgres://user@host1:1111,host2:2222/db"},
		{"hosts with ports in the query", in("postgresql:///db?host=host1:1111,host2:2222"),
			"postgres://host1:1111,host2:2222/db"},
		{"a host with a port in the query", in("postgresql:///db?host=h:5433"), "postgres://h:5433/db"},
		{"hosts in the query, some with ports", in("postgres:///db?host=127.0.0.1:5432,/cloudsql/x"),
			"postgres://127.0.0.1:5432,%2Fcloudsql%2Fx/db"},
		{"IPv6 in brackets in the query", in("postgresql:///db?user=user&host=[2001:db8::1234],[::1]:5433"),
			"postgres://user@[2001:db8::1234],[::1]:5433/db"},
		{"one port for all", in("postgres:///postgres?host=127.0.0.1,127.0.0.2&port=5432"),
			"postgres://127.0.0.1:5432,127.0.0.2:5432/postgres"},
		{"a socket directory with colons", in("postgres:///db?host=/cloudsql/project:region:instance-name&user=spam"),
			"postgres://spam@%2Fcloudsql%2Fproject%3Aregion%3Ainstance-name/db"},
		{"the same host twice", in("postgres://h/db?host=h"), "postgres://h/db"},
		{"the database before the query wins", in("postgres://h/a?database=b&dbname=b"), "postgres://h/a"},
		{"dbname in the query alone", in("postgres://h/?dbname=c"), "postgres://h/c"},
		{"a plus in the query is a blank", in("postgres://h/db?application_name=a+b"),
			"postgres://h/db?application_name=a%20b"},
		{"server settings", in("postgres://h/db?search_path=a&jit=off"),
			"postgres://h/db?options=-c%20search_path%3Da%20-c%20jit%3Doff"},
		{"libpq's keywords",
			in("postgres://h/db?krbsrvname=s&gsslib=gssapi&target_session_attrs=standby&passfile=f&service=x"),
			"postgres://h/db?krbsrvname=s&target_session_attrs=standby&passfile=f&service=x"},
	})
	checkWarnings(t, []noted{
		{"two other databases", in("postgres://h/a?database=b&dbname=b"), "database dbname"},
	})
	checkRefusal(t, []refusal{
		{"two hosts, of which libpq takes the other one", in("postgres://h/db?host=h2"), urlfix.CodeConflict, "host"},
		{"ports of the hosts, and again", in("postgres:///db?host=h1:1,h2:2&port=1"), urlfix.CodeConflict, "port"},
		{"two at signs and an escape", in("postgres://u:p%41@ss@h/db"), urlfix.CodeAmbiguous, "password"},
		{"an unknown setting", in("postgres://h/db?foo=1"), urlfix.CodeUnknownKey, "parameter"},
		{"settings in one parameter", in("postgres://h/db?server_settings=x"), urlfix.CodeUnsupported, "server_settings"},
		{"direct TLS", in("postgres://h/db?direct_tls=true"), urlfix.CodeUnsupported, "direct_tls"},
		{"another library for GSSAPI", in("postgres://h/db?gsslib=sspi"), urlfix.CodeUnsupported, "gsslib"},
	})
}

func TestAsyncpgParameters(t *testing.T) {
	const s = "postgres://h/db?" // the keys of the pool are asyncpg's alone
	checkBeside(t, []beside{
		{"the pool", s + "min_size=5&max_size=20&max_inactive_connection_lifetime=300.5",
			"pool_min_idle_conns=5 pool_max_conns=20 pool_max_conn_idle_time=300500ms"},
		{"no limits", s + "min_size=0&max_inactive_connection_lifetime=0", ""},
		{"no cache of statements", as("asyncpg", s+"statement_cache_size=0"), "default_query_exec_mode=exec"},
		{"a cache of statements", as("asyncpg", s+"statement_cache_size=50"), "statement_cache_capacity=50"},
	})
	checkMeaning(t, []means{
		{"keys without effect", s + "max_cached_statement_lifetime=1&max_cacheable_statement_size=1", "postgres://h/db"},
	})
	checkWarnings(t, []noted{
		{"a number of queries", s + "max_queries=50000", "max_queries"},
		{"a time for queries", s + "command_timeout=60", "command_timeout"},
	})
	checkRefusal(t, []refusal{
		{"no room in the pool", s + "max_size=0", urlfix.CodeValue, "max_size"},
		{"a size that is no number", s + "min_size=x", urlfix.CodeValue, "min_size"},
		{"a lifetime that is no number", s + "max_inactive_connection_lifetime=x", urlfix.CodeValue,
			"max_inactive_connection_lifetime"},
	})
}

// TestAsyncpgTLS: ssl=True of Python, which encode/databases makes of ssl=true, checks certificate and name.
func TestAsyncpgTLS(t *testing.T) {
	in := func(query string) string { return as("asyncpg", "postgres://h/db?"+query) }
	const to = "postgres://h/db?"
	checkMeaning(t, []means{
		{"ssl=true is verify-full with the system's roots", in("ssl=true"), to + "sslmode=verify-full&sslrootcert=system"},
		{"ssl=True", in("ssl=True"), to + "sslmode=verify-full&sslrootcert=system"},
		{"ssl=true and a root certificate", in("ssl=true&sslrootcert=ca.pem"), to + "sslrootcert=ca.pem&sslmode=verify-full"},
		{"ssl=true and sslmode=verify-full", in("ssl=true&sslmode=verify-full"),
			to + "sslmode=verify-full&sslrootcert=system"},
		{"ssl=false", in("ssl=false"), to + "sslmode=disable"},
		{"ssl is sslmode to SQLAlchemy's users", in("ssl=require"), to + "sslmode=require"},
		{"ssl and sslmode that agree", in("ssl=require&sslmode=require"), to + "sslmode=require"},
		{"an underscore in sslmode", in("sslmode=verify_full"), to + "sslmode=verify-full"},
		{"an underscore in sslmode in a plain URI", to + "sslmode=verify_full", to + "sslmode=verify-full"},
		{"sslmode=allow", in("sslmode=allow"), to + "sslmode=allow"},
		{"a root certificate with require", in("sslmode=require&sslrootcert=ca.pem"),
			to + "sslmode=require&sslrootcert=ca.pem"},
		{"ssl=true in a plain URI with keys of the pool", "postgres://h/db?ssl=true&min_size=1",
			to + "sslmode=verify-full&sslrootcert=system"},
	})
	checkRefusal(t, []refusal{
		{"ssl=true and a weaker sslmode", in("ssl=true&sslmode=require"), urlfix.CodeConflict, "sslmode"},
		{"ssl and sslmode that differ", in("ssl=require&sslmode=disable"), urlfix.CodeConflict, "sslmode"},
		{"verify-ca without a root certificate", in("sslmode=verify-ca"), urlfix.CodeValue, "sslmode"},
		{"an ssl that is no sslmode", in("ssl=yes"), urlfix.CodeValue, "ssl"},
	})
}

func TestAsyncpgChangesAreReported(t *testing.T) {
	checkChanges(t, []noted{
		{"ssl=true", as("asyncpg", "postgres://h/db?ssl=true"), "ssl"},
		{"ssl=require", as("asyncpg", "postgres://h/db?ssl=require"), "ssl"},
		{"no cache of statements", as("asyncpg", "postgres://h/db?statement_cache_size=0"), "statement_cache_size"},
	})
}
