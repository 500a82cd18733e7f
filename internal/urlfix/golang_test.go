package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestLibPQ(t *testing.T) {
	const s = "postgres://h/db?pgsafe_dialect=libpq-go"
	const uri = "postgres://h/db?sslmode="
	checkMeaning(t, []means{
		{"TLS is the default", s, uri + "require"},
		{"an sslmode", s + "&sslmode=disable", uri + "disable"},
		{"the system's roots", s + "&sslrootcert=system", "postgres://h/db?sslrootcert=system&sslmode=verify-full"},
		{"keywords", "host=h dbname=db pgsafe_dialect=libpq-go", uri + "require"},
		{"another name of the database", "postgres://h/?database=db&pgsafe_dialect=libpq-go", uri + "require"},
		{"a server setting", s + "&sslmode=disable&search_path=x", uri + "disable&options=-c%20search_path%3Dx"},
		{"a time zone", s + "&sslmode=disable&tz=UTC", uri + "disable&options=-c%20timezone%3DUTC"},
		{"files", s + "&sslinline=false&disable_prepared_binary_result=yes", uri + "require"},
	})
	checkRefusal(t, []refusal{
		{"a certificate in the string", s + "&sslinline=true", urlfix.CodeUnsupported, "sslinline"},
		{"a certificate in a plain URI", "postgres://h/db?sslinline=true", urlfix.CodeUnsupported, "sslinline"},
		{"a configuration in code", s + "&sslmode=pqgo-custom", urlfix.CodeValue, "sslmode"},
		{"a configuration in code, in a plain URI", "postgres://h/db?sslmode=pqgo-custom", urlfix.CodeValue, "sslmode"},
		{"no boolean", s + "&binary_parameters=maybe", urlfix.CodeValue, "binary_parameters"},
		{"an unknown key", "postgres://u:s3cretPw@example.com:1/db?opt=val&sslmode=require", urlfix.CodeUnknownKey,
			"parameter"},
	})
	checkBeside(t, []beside{
		{"binary parameters", s + "&binary_parameters=yes", "default_query_exec_mode=exec"},
		{"binary parameters in a plain URI", "postgres://h/db?binary_parameters=yes", "default_query_exec_mode=exec"},
		{"no binary parameters", s + "&binary_parameters=no", ""},
	})
}

func TestPgxsOwnKeys(t *testing.T) {
	const s = "postgres://jack:secret@localhost:5432/mydb?sslmode=disable&"
	checkBeside(t, []beside{
		{"the pool", s + "pool_max_conns=10&pool_min_conns=1&pool_max_conn_lifetime=1h",
			"pool_max_conns=10 pool_min_conns=1 pool_max_conn_lifetime=1h"},
		{"the mode", s + "default_query_exec_mode=simple_protocol", "default_query_exec_mode=simple_protocol"},
		{"the caches", s + "statement_cache_capacity=5&description_cache_capacity=6",
			"statement_cache_capacity=5 description_cache_capacity=6"},
	})
}

func TestGolangMigrate(t *testing.T) {
	checkMeaning(t, []means{
		{"bad escapes in the password", "pgx://postgres:foo%hejsan2%tjotjo@localhost:5432/postgres?sslmode=disable",
			"postgres://postgres:foo%25hejsan2%25tjotjo@localhost:5432/postgres?sslmode=disable"},
		{"the last at sign ends the password", "pgx5://u:p@ss@h/db", "postgres://u:p%40ss@h/db"},
		{"CockroachDB", "crdb-postgres://u@h:26257/db", "postgres://u@h:26257/db"},
		{"a server setting", "pgx5://h/db?search_path=x", "postgres://h/db?options=-c%20search_path%3Dx"},
	})
	checkRefusal(t, []refusal{
		{"an unknown key", "pgx5://h/db?x-unknown=1", urlfix.CodeUnknownKey, "parameter"},
	})
	const own = `
		x-force-lock x-lock-strategy x-lock-table x-max-retries x-max-retry-elapsed-time x-max-retry-interval
		x-migrations-table x-migrations-table-quoted x-multi-statement x-multi-statement-max-size x-statement-timeout`
	checkLeftOut(t, "pgx5://h/db?", "postgres://h/db", own)
	checkLeftOut(t, "postgres://h/db?", "postgres://h/db", own)
}

func TestDburl(t *testing.T) {
	checkMeaning(t, []means{
		{"a directory, a port and a database", "pg+unix:/dir:4444/booktest", "postgres://%2Fdir:4444/booktest"},
		{"a directory that servers use", "pg:/var/run/postgresql", "postgres://%2Fvar%2Frun%2Fpostgresql/"},
		{"a directory that servers use and a database", "postgres+unix:/run/postgresql/mydb",
			"postgres://%2Frun%2Fpostgresql/mydb"},
		{"a directory and a port", "pg:/tmp:7777", "postgres://%2Ftmp:7777/"},
		{"slashes of a URI", "postgresql+unix:///dir:5433/db?sslmode=disable", "postgres://%2Fdir:5433/db?sslmode=disable"},
		{"a user and a password", "pg:user:p%40ss@/dir:5433/mydb", "postgres://user:p%40ss@%2Fdir:5433/mydb"},
		{"a password with an at sign", "pg:user:p@ss@/dir:5433/mydb", "postgres://user:p%40ss@%2Fdir:5433/mydb"},
		{"a host", "pg:user:pass@localhost/booktest", "postgres://user:pass@localhost/booktest"},
		{"a server setting", "pg:/tmp/db?search_path=x", "postgres://%2Ftmp/db?options=-c%20search_path%3Dx"},
	})
	checkRefusal(t, []refusal{
		{"a directory that may end anywhere", "pg:user:pass@/really/bad/path", urlfix.CodeAmbiguous, "host"},
		{"a directory that only looks like one that servers use", "pg:/tmpfs/db", urlfix.CodeAmbiguous, "host"},
		{"a directory from the current one", "pg:./path/to/socket", urlfix.CodeSyntax, "host"},
		{"a port that is none", "pg:/dir:x/db", urlfix.CodeValue, "port"},
		{"a directory with a comma", "pg:/a,b:5432/db", urlfix.CodeValue, "host"},
		{"escapes that are no UTF-8", "pg:u:%e9@/tmp/db", urlfix.CodeValue, "password"},
		{"an unknown key", "pg:/tmp/db?opt=val", urlfix.CodeUnknownKey, "parameter"},
	})
}

func TestURIsOfLibPQ(t *testing.T) {
	const s = "?pgsafe_dialect=libpq-go&sslmode=disable"
	const uri = "postgres://u:p@h/db?sslmode=disable"
	checkMeaning(t, []means{
		{"a plus is a blank", "postgres://h/db" + s + "&user=u&password=a+bcdef",
			"postgres://u:a%20bcdef@h/db?sslmode=disable"},
		{"an encoded plus is one", "postgres://u:p@h/db" + s + "&application_name=a%2Bb", uri + "&application_name=a%2Bb"},
		{"a plus before the query is one", "postgres://u:p+q@h/d+b" + s, "postgres://u:p%2Bq@h/d%2Bb?sslmode=disable"},
		{"an equals sign in a value", "postgres://u:p@h/db" + s + "&options=-c%20search_path=x",
			uri + "&options=-c%20search_path%3Dx"},
		{"empty parameters", "postgres://u:p@h/db" + s + "&&&connect_timeout=5&", uri + "&connect_timeout=5"},
		{"a fragment", "postgres://u:p@h/db" + s + "#frag", uri},
		{"a parameter without a value", "postgres://u:p@h/db" + s + "&application_name", uri},
		{"the last at sign ends the password", "postgres://u:p@w@h/db" + s, "postgres://u:p%40w@h/db?sslmode=disable"},
		{"an encoded slash after the first at sign", "postgres://u:p@%2FsuperSecret9@db/a" + s,
			"postgres://u:p%40%2FsuperSecret9@db/a?sslmode=disable"},
		{"a raw slash in the password, on which lib/pq fails", "postgres://u:pa/ss@h/db" + s,
			"postgres://u:pa%2Fss@h/db?sslmode=disable"},
	})
	checkRefusal(t, []refusal{
		{"a hash in the password", "postgres://u:p@ss#w@h/db" + s, urlfix.CodeAmbiguous, "fragment"},
		{"a hash before parameters", "postgres://u:p@h/db?pgsafe_dialect=libpq-go#x&sslmode=verify-full",
			urlfix.CodeAmbiguous, "fragment"},
		{"a semicolon", "postgres://u:p@h/db" + s + "&application_name=x;y", urlfix.CodeSyntax, "query"},
		{"an unknown key", "postgres://u:p@h/db" + s + "&nosuch=x", urlfix.CodeUnknownKey, "parameter"},
		{"two values", "postgres://u:p@h/db?pgsafe_dialect=libpq-go&sslmode=verify-full&sslmode=disable",
			urlfix.CodeConflict, "sslmode"},
	})
	checkWarnings(t, []noted{
		{"a fragment", "postgres://u:p@h/db" + s + "#frag", "fragment"},
		{"a parameter without a value", "postgres://u:p@h/db" + s + "&application_name", "application_name"},
	})
}
