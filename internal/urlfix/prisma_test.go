package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestPrismaURIs(t *testing.T) {
	in := func(dsn string) string { return as("prisma", dsn) }
	checkMeaning(t, []means{
		{"its default", in("postgresql://u:p@h:5432"), "postgres://u:p@h:5432/postgres"},
		{"a timeout of its own", in("postgres://h/db?connect_timeout=30"), "postgres://h/db?connect_timeout=30"},
		{"no timeout", in("postgres://h/db?connect_timeout=0"), "postgres://h/db?connect_timeout=0"},
		{"the host of the query wins", in("postgres://localhost/db?host=/cloudsql/p:r:i"),
			"postgres://%2Fcloudsql%2Fp%3Ar%3Ai/db"},
		{"the database before the query wins", in("postgres://h/a?dbname=b"), "postgres://h/a"},
		{"a plus in the query is a blank", in("postgres://h/db?application_name=a+b"),
			"postgres://h/db?application_name=a%20b"},
		{"channel binding and options", in("postgres://h/db?channel_binding=require&options=-c%20a.b%3D1"),
			"postgres://h/db?channel_binding=require&options=-c%20a.b%3D1"},
	})
	checkRefusal(t, []refusal{
		{"a port in the query, which Prisma leaves out", in("postgres://h/db?port=1"), urlfix.CodeUnsupported, "port"},
		{"a server setting, which Prisma leaves out", in("postgres://h/db?search_path=a"), urlfix.CodeUnknownKey,
			"parameter"},
		{"a PKCS-12 file", in("postgres://h/db?sslidentity=c.p12"), urlfix.CodeUnsupported, "sslidentity"},
		{"its password", in("postgres://h/db?sslpassword=x"), urlfix.CodeUnsupported, "sslpassword"},
	})
}

func TestPrismaKeysInAPlainURI(t *testing.T) {
	const s, to = "postgres://h/db?", "postgres://h/db?"
	checkMeaning(t, []means{
		{"a schema", s + "schema=public", to + "options=-c%20search_path%3Dpublic"},
		{"a schema in capitals", s + "schema=My", to + "options=-c%20search_path%3D%22My%22"},
		{"a schema with a quote", s + `schema=a%22b`, to + "options=-c%20search_path%3D%22a%22%22b%22"},
		{"no defaults", s + "schema=a&connect_timeout=3", to + "connect_timeout=3&options=-c%20search_path%3Da"},
	})
	checkBeside(t, []beside{
		{"the pool", s + "connection_limit=5&pool_timeout=3&max_connection_lifetime=60&max_idle_connection_lifetime=7",
			"pool_max_conns=5 pool_acquire_timeout=3s pool_max_conn_lifetime=60s pool_max_conn_idle_time=7s"},
		{"no limits", s + "connection_limit=0&pool_timeout=0&max_connection_lifetime=0&max_idle_connection_lifetime=0", ""},
		{"PgBouncer", s + "pgbouncer=true", "default_query_exec_mode=exec"},
		{"no PgBouncer", s + "pgbouncer=false", ""},
		{"a cache of statements", s + "statement_cache_size=500", "statement_cache_capacity=500"},
		{"no cache of statements", s + "statement_cache_size=0", "default_query_exec_mode=exec"},
		{"no cache of statements, by name", as("prisma", s+"statement_cache_size=0"), "default_query_exec_mode=exec"},
		{"PgBouncer and a cache", s + "pgbouncer=true&statement_cache_size=500", "default_query_exec_mode=exec"},
	})
	checkWarnings(t, []noted{
		{"a time for queries", s + "socket_timeout=5", "socket_timeout"},
		{"a mode that is prefer to Prisma", s + "schema=a&sslmode=verify-full", "sslmode"},
		{"no root certificate", s + "schema=a&sslmode=require", ""},
		{"a root certificate that is not used", s + "schema=a&sslmode=prefer&sslcert=ca.pem", ""},
		{"a root certificate that Prisma would not look at", s + "schema=a&sslmode=require&sslcert=ca.pem", "sslrootcert"},
	})
	checkRefusal(t, []refusal{
		{"an empty schema", s + "schema=", urlfix.CodeValue, "schema"},
		{"no number", s + "connection_limit=x", urlfix.CodeValue, "connection_limit"},
		{"no boolean", s + "pgbouncer=1", urlfix.CodeValue, "pgbouncer"},
		{"a time that is none", s + "pool_timeout=5s", urlfix.CodeValue, "pool_timeout"},
		{"a PKCS-12 file", s + "sslidentity=c.p12&sslpassword=x", urlfix.CodeUnsupported, "sslidentity"},
	})
}

// TestPrismaChecksCertificates: with sslaccept=strict, and with every value that Prisma does not know.
func TestPrismaChecksCertificates(t *testing.T) {
	const s, to = "postgres://h/db?", "postgres://h/db?"
	checkMeaning(t, []means{
		{"strict is verify-full with the system's roots", s + "sslmode=require&sslaccept=strict",
			to + "sslmode=verify-full&sslrootcert=system"},
		{"strict without sslmode", s + "sslaccept=strict", to + "sslmode=verify-full&sslrootcert=system"},
		{"strict with prefer does not fall back to plain text", s + "sslmode=prefer&sslaccept=strict",
			to + "sslmode=verify-full&sslrootcert=system"},
		{"a value that is misspelt is strict", s + "sslmode=require&sslaccept=strct",
			to + "sslmode=verify-full&sslrootcert=system"},
		{"sslcert is the server's authority", s + "sslmode=require&sslaccept=strict&sslcert=ca.pem",
			to + "sslmode=verify-full&sslrootcert=ca.pem"},
		{"sslcert is the server's authority without sslmode", s + "sslaccept=strict&sslcert=ca.pem",
			to + "sslmode=verify-full&sslrootcert=ca.pem"},
		{"sslrootcert stays", s + "sslaccept=strict&sslrootcert=ca.pem", to + "sslrootcert=ca.pem&sslmode=verify-full"},
		{"a client's certificate is libpq's", s + "sslaccept=strict&sslcert=c.pem&sslkey=k.pem",
			to + "sslcert=c.pem&sslkey=k.pem&sslmode=verify-full&sslrootcert=system"},
		{"accept_invalid_certs leaves sslmode", s + "sslmode=require&sslaccept=accept_invalid_certs", to + "sslmode=require"},
		{"sslcert is the authority without strict", s + "sslmode=require&schema=a&sslcert=ca.pem",
			to + "sslmode=require&sslrootcert=ca.pem&options=-c%20search_path%3Da"},
		{"sslcert in a string that is Prisma's by name", as("prisma", s+"sslcert=ca.pem"), to + "sslrootcert=ca.pem"},
		{"allow is prefer to Prisma, which is stronger", s + "sslmode=allow&schema=a",
			to + "sslmode=prefer&options=-c%20search_path%3Da"},
		{"verify-full stays", as("prisma", s+"sslmode=verify-full"), to + "sslmode=verify-full"},
		{"no-verify is require", as("prisma", s+"sslmode=no-verify"), to + "sslmode=require"},
	})
	checkRefusal(t, []refusal{
		{"strict without TLS", s + "sslmode=disable&sslaccept=strict", urlfix.CodeConflict, "sslaccept"},
		{"verify-ca without a root certificate", as("prisma", s+"sslmode=verify-ca"), urlfix.CodeValue, "sslmode"},
	})
}

func TestPrismaChangesAreReported(t *testing.T) {
	checkChanges(t, []noted{
		{"its default", as("prisma", "postgres://h"), "database"},
		{"sslaccept and sslcert", "postgres://h/db?sslaccept=strict&sslcert=ca.pem", "sslaccept sslcert"},
		{"PgBouncer", "postgres://h/db?pgbouncer=true", "pgbouncer"},
		{"a cache of statements", "postgres://h/db?statement_cache_size=5", "statement_cache_size"},
	})
}
