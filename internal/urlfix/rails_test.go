package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestRailsURIs(t *testing.T) {
	in := func(dsn string) string { return as("rails", dsn) }
	checkMeaning(t, []means{
		{"a plus is a plus", in("postgres://h/db?application_name=a+b%20c"), "postgres://h/db?application_name=a%2Bb%20c"},
		{"an equals sign in a value", in("postgres://h/db?options=-c%20a.b=1"), "postgres://h/db?options=-c%20a.b%3D1"},
		{"user and password in the query", in("postgres:///db?host=/tmp&username=me&password=x"),
			"postgres://me:x@%2Ftmp/db"},
		{"a database in the query alone", in("postgres://h?database=b"), "postgres://h/b"},
		{"the same database twice", in("postgres://h/b?database=b"), "postgres://h/b"},
		{"the name of the adapter", in("postgres://h/db?adapter=postgresql"), "postgres://h/db"},
		{"libpq's keywords", in("postgres://h/db?connect_timeout=2&sslmode=verify-full&sslrootcert=ca.pem"),
			"postgres://h/db?connect_timeout=2&sslmode=verify-full&sslrootcert=ca.pem"},
	})
	checkRefusal(t, []refusal{
		{"two at signs and an escape", in("postgres://u:p%41@ss@h/db"), urlfix.CodeAmbiguous, "password"},
		{"a good and a bad escape", in("postgres://u:50%off%41@h/db"), urlfix.CodeAmbiguous, "password"},
		{"another database in the query", in("postgres://h/a?database=b"), urlfix.CodeConflict, "database"},
		{"another host in the query", in("postgres://h/a?host=b"), urlfix.CodeConflict, "host"},
		{"another user in the query", in("postgres://u@h/a?username=b"), urlfix.CodeConflict, "user"},
		{"another adapter", in("postgres://h/a?adapter=mysql2"), urlfix.CodeValue, "adapter"},
		{"a server setting, which Rails leaves out", in("postgres://h/a?search_path=b"), urlfix.CodeUnknownKey, "parameter"},
	})
}

func TestRailsParameters(t *testing.T) {
	const s, to = "postgres://h/db?", "postgres://h/db"
	checkBeside(t, []beside{
		{"the pool", s + "pool=5&checkout_timeout=2.5&reaping_frequency=30&idle_timeout=300",
			"pool_max_conns=5 pool_acquire_timeout=2500ms pool_health_check_period=30s pool_max_conn_idle_time=300s"},
		{"the pool of Rails 8.1", s + "max_connections=5&min_connections=1&max_age=600",
			"pool_max_conns=5 pool_min_idle_conns=1 pool_max_conn_lifetime=600s"},
		{"no limits", s + "pool=-1&max_connections=-1&min_connections=0&max_age=0&idle_timeout=0&reaping_frequency=0", ""},
		{"no prepared statements", s + "prepared_statements=false", "default_query_exec_mode=exec"},
		{"prepared statements", s + "prepared_statements=true&statement_limit=200", "statement_cache_capacity=200"},
	})
	checkMeaning(t, []means{
		{"a search path", s + "schema_search_path=app,public", to + "?options=-c%20search_path%3Dapp,public"},
		{"its older name", s + "schema_order=app", to + "?options=-c%20search_path%3Dapp"},
		{"messages", s + "min_messages=warning", to + "?options=-c%20client_min_messages%3Dwarning"},
		{"an encoding that is UTF-8", s + "encoding=unicode", to},
		{"keys without effect",
			s + "advisory_locks=false&database_tasks=false&insert_returning=false&max_threads=5&min_threads=1&" +
				"migrations_paths=x&query_cache=false&schema_cache_path=x&schema_dump=false&seeds=x&use_metadata_table=false&" +
				"verify_timeout=2", to},
		{"the example of the documentation", "postgresql://foo:s3cretPw@localhost:9000/foo_test?pool=5&timeout=3000",
			"postgres://foo:s3cretPw@localhost:9000/foo_test"},
	})
	checkWarnings(t, []noted{
		{"a timeout that is SQLite's", s + "pool=5&timeout=3000", "timeout"},
		{"retries", s + "connection_retries=1&retry_deadline=5", "connection_retries retry_deadline"},
		{"a sign of life", s + "keepalive=600", "keepalive"},
	})
	checkRefusal(t, []refusal{
		{"another encoding", s + "encoding=latin1", urlfix.CodeValue, "encoding"},
		{"variables", s + "variables=x", urlfix.CodeUnsupported, "variables"},
		{"a replica", s + "replica=true", urlfix.CodeUnsupported, "replica"},
		{"no room in the pool", s + "pool=0", urlfix.CodeValue, "pool"},
		{"no boolean", s + "prepared_statements=x", urlfix.CodeValue, "prepared_statements"},
		{"an empty search path", s + "schema_search_path=", urlfix.CodeValue, "schema_search_path"},
		{"the adapter in a plain URI", s + "adapter=postgresql", urlfix.CodeUnknownKey, "parameter"},
	})
}

// TestRailsTLS: Rails leaves ssl out, and so would connect in plain text where the server lets it.
func TestRailsTLS(t *testing.T) {
	in := func(query string) string { return as("rails", "postgres://h/db?"+query) }
	checkMeaning(t, []means{
		{"ssl=true is require", in("ssl=true"), "postgres://h/db?sslmode=require"},
		{"ssl=1 is require", in("ssl=1"), "postgres://h/db?sslmode=require"},
		{"ssl=false changes nothing", in("ssl=false"), "postgres://h/db"},
		{"requiressl=1", in("requiressl=1"), "postgres://h/db?sslmode=require"},
		{"requiressl=0 changes nothing", in("requiressl=0"), "postgres://h/db"},
		{"requiressl in a plain URI", "postgres://h/db?requiressl=1", "postgres://h/db?sslmode=require"},
		{"ssl and sslmode alike", in("ssl=true&sslmode=require"), "postgres://h/db?sslmode=require"},
	})
	checkRefusal(t, []refusal{
		{"ssl and sslmode that differ", in("ssl=true&sslmode=disable"), urlfix.CodeConflict, "sslmode"},
		{"a value that is a mode", in("ssl=verify-full"), urlfix.CodeValue, "ssl"},
		{"no value", in("requiressl="), urlfix.CodeValue, "requiressl"},
	})
}
