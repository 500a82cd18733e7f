package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestSQLAlchemyDrivers(t *testing.T) {
	for scheme, want := range map[string]string{
		"postgresql+psycopg2":      "sqlalchemy+psycopg2",
		"postgresql+psycopg":       "sqlalchemy+psycopg",
		"postgresql+psycopg_async": "sqlalchemy+psycopg",
		"postgresql+asyncpg":       "sqlalchemy+asyncpg",
		"postgresql+pg8000":        "sqlalchemy+pg8000",
		"postgres+psycopg2":        "sqlalchemy+psycopg2",
		"PostgreSQL+Psycopg2":      "sqlalchemy+psycopg2",
		"cockroachdb":              "sqlalchemy+psycopg2",
		"cockroachdb+asyncpg":      "sqlalchemy+asyncpg",
	} {
		t.Run(scheme, func(t *testing.T) {
			d, err := urlfix.Parse(scheme + "://u:p@h/db")
			if err != nil || d.Dialect != want {
				t.Errorf("%v, %v; want %s", d, err, want)
			}
		})
	}
}

func TestSQLAlchemyPasswordEndsAtTheFirstAtSign(t *testing.T) {
	const s = "postgresql+psycopg2://"
	checkMeaning(t, []means{
		{"a raw slash", s + "username:apples/oranges@hostspec/database",
			"postgres://username:apples%2Foranges@hostspec/database"},
		{"digits before a slash", s + "u:1234/x@h:5432/db", "postgres://u:1234%2Fx@h:5432/db"},
		{"colons, question marks and hashes", s + "u:a:b?c#d@h/db", "postgres://u:a%3Ab%3Fc%23d@h/db"},
		{"escapes are decoded next to raw characters", s + "u:p%40ss/word@h/db", "postgres://u:p%40ss%2Fword@h/db"},
		{"a broken escape is literal", s + "u:50%off@h/db", "postgres://u:50%25off@h/db"},
		{"a plus is literal", s + "u:a+b@h/db", "postgres://u:a%2Bb@h/db"},
		{"an at sign in the user", s + "me@corp:secret12@h/db", "postgres://me%40corp:secret12@h/db"},
		{"a user alone", s + "u@h/db", "postgres://u@h/db"},
		{"no userinfo", s + "h:5433/db", "postgres://h:5433/db"},
		{"blanks", s + "u:a b@h/db", "postgres://u:a%20b@h/db"},
		{"a raw at sign, which SQLAlchemy fails on", s + "u:p@ss@h/db", "postgres://u:p%40ss@h/db"},
		{"IPv6", s + "u:p/w@[::1]:5433/db", "postgres://u:p%2Fw@[::1]:5433/db"},
		{"nothing", s, "postgres:///"},
	})
	checkRefusal(t, []refusal{
		{"an at sign in the query, and no userinfo", s + "h:5432/db?application_name=a@b", urlfix.CodeAmbiguous, "string"},
		{"an at sign in the query, and a user", s + "u@h:5432/db?application_name=a@b", urlfix.CodeAmbiguous, "string"},
		{"two at signs and a raw slash", s + "u:p@h1/x@h2/db", urlfix.CodeSyntax, "database"},
		{"two at signs and an escape", s + "u:p%41@ss@h/db", urlfix.CodeAmbiguous, "password"},
		{"escapes that are no UTF-8", s + "u:abc%e9def@h/db", urlfix.CodeValue, "password"},
		{"escapes in the user that are no UTF-8", s + "abc%e9def@h/db", urlfix.CodeValue, "user"},
		{"no number as port", s + "u:p@h:x/db", urlfix.CodeValue, "port"},
	})
}

func TestSQLAlchemyQuery(t *testing.T) {
	const s = "postgresql+psycopg2://u:p@"
	checkMeaning(t, []means{
		{"a plus is a blank", s + "h/db?options=-c+search_path%3Dx", "postgres://u:p@h/db?options=-c%20search_path%3Dx"},
		{"a raw equals sign is literal", s + "h/db?options=-csearch_path=x", "postgres://u:p@h/db?options=-csearch_path%3Dx"},
		{"a host that is repeated is a list", s + "/db?host=h1:1&host=h2:2", "postgres://u:p@h1:1,h2:2/db"},
		{"a host that is repeated, some with ports", s + "/db?host=h1&host=h2:2", "postgres://u:p@h1,h2:2/db"},
		{"a host with a port", s + "/db?host=h1:5433", "postgres://u:p@h1:5433/db"},
		{"an IPv6 address", s + "/db?host=::1", "postgres://u:p@[::1]/db"},
		{"hosts and ports", s + "/db?host=a,b&port=1,2", "postgres://u:p@a:1,b:2/db"},
		{"a socket directory with colons", s + "/db?host=/cloudsql/p:r:i", "postgres://u:p@%2Fcloudsql%2Fp%3Ar%3Ai/db"},
		{"the host of the query replaces the other", s + "h1/db?host=h2", "postgres://u:p@h2/db"},
		{"the hosts of the query replace a list", s + "h1:1,h2:2/db?host=h3", "postgres://u:p@h3/db"},
		{"a port replaces the other", s + "h:1/db?port=2", "postgres://u:p@h:2/db"},
		{"keys of pgsafe", s + "h/db?pool_max_conns=5", "postgres://u:p@h/db"},
	})
	checkRefusal(t, []refusal{
		{"an unknown key", s + "/?any_random_thing=yes", urlfix.CodeUnknownKey, "parameter"},
		{"a server setting, which psycopg refuses", s + "h/db?search_path=x", urlfix.CodeUnknownKey, "parameter"},
		{"ssl, which psycopg refuses", s + "h/db?ssl=true", urlfix.CodeUnsupported, "ssl"},
		{"a key twice", s + "h/db?sslmode=require&sslmode=disable", urlfix.CodeConflict, "sslmode"},
		{"ports twice", s + "/db?host=a:1&host=b:2&port=1,2", urlfix.CodeConflict, "port"},
		{"more ports than hosts", s + "/db?host=a,b&port=1,2,3", urlfix.CodeValue, "port"},
		{"no equals sign", s + "h/db?sslmode", urlfix.CodeSyntax, "query"},
		{"a key that is no UTF-8", s + "h/db?%e9=1", urlfix.CodeUnknownKey, "parameter"},
		{"a value that is no UTF-8", s + "h/db?application_name=%e9", urlfix.CodeValue, "application_name"},
		{"a value with NUL", s + "h/db?application_name=%00", urlfix.CodeValue, "application_name"},
	})
}

func TestAsyncpgUnderSQLAlchemy(t *testing.T) {
	const s = "postgresql+asyncpg://u:p@h/db?"
	checkMeaning(t, []means{
		{"ssl is sslmode", s + "ssl=require", "postgres://u:p@h/db?sslmode=require"},
		{"with an underscore", s + "ssl=verify_full", "postgres://u:p@h/db?sslmode=verify-full"},
		{"sslmode is sslmode", s + "sslmode=verify_full", "postgres://u:p@h/db?sslmode=verify-full"},
		{"ssl and sslmode that agree", s + "ssl=require&sslmode=require", "postgres://u:p@h/db?sslmode=require"},
		{"a cache for PgBouncer", s + "prepared_statement_cache_size=0", "postgres://u:p@h/db"},
		{"a cache of another size", s + "prepared_statement_cache_size=100", "postgres://u:p@h/db"},
	})
	checkRefusal(t, []refusal{
		{"ssl=true, which asyncpg fails on", s + "ssl=true", urlfix.CodeValue, "ssl"},
		{"no sslmode", s + "sslmode=required", urlfix.CodeValue, "sslmode"},
		{"ssl and sslmode that differ", s + "ssl=require&sslmode=disable", urlfix.CodeConflict, "sslmode"},
		{"a function's name", s + "prepared_statement_name_func=f", urlfix.CodeUnsupported, "prepared_statement_name_func"},
	})
	t.Run("asyncpg without a statement cache prepares no statements", func(t *testing.T) {
		d := mustParse(t, s+"prepared_statement_cache_size=0")
		if len(d.Driver) != 1 || d.Driver[0] != (urlfix.Param{Key: "default_query_exec_mode", Value: "exec"}) {
			t.Errorf("driver is %v", d.Driver)
		}
	})
}

func TestEngineParametersInTheURL(t *testing.T) {
	for _, s := range []string{"postgresql+psycopg2://h/db?", "postgresql+asyncpg://h/db?"} {
		checkBeside(t, []beside{
			{"both parts of a pool", s + "pool_size=5&max_overflow=20", "pool_max_conns=25"},
			{"the overflow is 10 by default", s + "pool_size=20", "pool_max_conns=30"},
			{"the size is 5 by default", s + "max_overflow=0", "pool_max_conns=5"},
			{"a size of zero is no limit", s + "pool_size=0", ""},
			{"an overflow of -1 is no limit", s + "max_overflow=-1", ""},
			{"a time to wait", s + "pool_timeout=30", "pool_acquire_timeout=30s"},
			{"a lifetime", s + "pool_recycle=3600", "pool_max_conn_lifetime=3600s"},
			{"no lifetime", s + "pool_recycle=-1", ""},
		})
		checkRefusal(t, []refusal{
			{"no number", s + "max_overflow=many", urlfix.CodeValue, "max_overflow"},
		})
		checkLeftOut(t, s, "postgres://h/db", "pool_pre_ping pool_use_lifo echo")
	}
	checkLeftOut(t, "postgresql+asyncpg://h/db?", "postgres://h/db", "async_fallback")
}
