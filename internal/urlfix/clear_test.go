package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestStringsOfManyToolsAreClear(t *testing.T) {
	const uri = "postgres://u:p@h/db"
	checkMeaning(t, []means{
		{"a socket beside localhost", "postgresql://u:p@localhost/db?host=/cloudsql/proj:asia-northeast1:inst",
			"postgres://u:p@%2Fcloudsql%2Fproj%3Aasia-northeast1%3Ainst/db"},
		{"Supabase's key", uri + "?sslmode=require&supa=base-pooler.x", uri + "?sslmode=require"},
		{"Prisma's pool", uri + "?pool=true", uri},
		{"CockroachDB's cluster", uri + "?options=--cluster=x", uri + "?options=--cluster%3Dx"},
		{"Neon's endpoint", uri + "?options=endpoint=ep-x", uri + "?options=endpoint%3Dep-x"},
		{"pg8000's socket", "postgresql+pg8000://u:p@/db?unix_sock=/cloudsql/p:r:i/.s.PGSQL.5432",
			"postgres://u:p@%2Fcloudsql%2Fp%3Ar%3Ai:5432/db"},
		{"Rails' keys under postgis", "postgis://u:p@h/db?prepared_statements=false&schema_search_path=public,postgis",
			uri + "?options=-c%20search_path%3Dpublic,postgis"},
		{"a blank in SQLAlchemy's database", "postgresql+psycopg2://u:p@h/my db", "postgres://u:p@h/my%20db"},
		{"IPv6 addresses in the query", "postgres:///db?host=[::1],[::2]", "postgres:///db?host=::1,::2"},
		{"lines of Npgsql", "Host=h;\n  Username=u;\n\tPassword=p;\nDatabase=db\n", uri},
		{"lines of PDO", "pgsql:host=h;\n user=u;\tpassword=p;\n dbname=db", uri},
		{"sqlx's options", uri + "?options[search_path]=app&statement-cache-capacity=10&ssl-mode=require",
			uri + "?sslmode=require&options=-c%20search_path%3Dapp"},
		{"Crystal's pool", uri + "?initial_pool_size=1&max_pool_size=10&max_idle_pool_size=5&retry_attempts=3", uri},
		{"YugabyteDB's balance", uri + "?load_balance=true&topology_keys=a.b.c", uri},
		{"Celery's scheme", "db+postgresql://u:p@h/db", uri},
		{"Celery's scheme with a driver", "db+postgresql+psycopg2://u:p@h/db", uri},
		{"Tortoise's scheme of asyncpg", "asyncpg://u:p@h/db", uri},
		{"Tortoise's scheme of psycopg", "psycopg://u:p@h/db", uri},
		{"peewee's pool", "postgres+pool://u:p@h/db?max_connections=20&stale_timeout=300", uri},
		{"dburl's transport", "postgres+tcp://u:p@h/db", uri},
		{"dburl's CockroachDB", "crdb://u:p@h:26257/db", "postgres://u:p@h:26257/db"},
		{"R2DBC", "r2dbc:postgresql://u:p@h/db?sslMode=verify-full&schema=app",
			uri + "?sslmode=verify-full&options=-c%20search_path%3Dapp"},
		{"R2DBC's ssl", "r2dbc:postgresql://u:p@h/db?ssl=true", uri + "?sslmode=verify-full"},
		{"several hosts of R2DBC", "r2dbc:postgresql:failover://u:p@h1:1,h2:2/db", "postgres://u:p@h1:1,h2:2/db"},
		{"the wrapper of AWS", "jdbc:aws-wrapper:postgresql://h/db?user=u&password=p&wrapperPlugins=failover", uri},
		{"YugabyteDB's JDBC driver", "jdbc:yugabytedb://h/db?user=u&password=p&load-balance=true",
			"postgres://u:p@h:5433/db"},
		{"P6Spy", "jdbc:p6spy:postgresql://h/db?user=u&password=p", uri},
		{"OpenTelemetry's JDBC driver", "jdbc:otel:postgresql://h/db?user=u&password=p", uri},
		{"an unknown property of JDBC", "jdbc:postgresql://h/db?user=u&password=p&someProperty=x&other=y", uri},
	})
	checkRefusal(t, []refusal{
		{"a socket beside another host", "postgres://u:p@h/db?host=/tmp", urlfix.CodeConflict, "host"},
		{"a host beside localhost", "postgres://u:p@localhost/db?host=h", urlfix.CodeConflict, "host"},
		{"a socket beside localhost, for asyncpg", "postgres://u:p@localhost/db?host=/tmp&pgsafe_dialect=asyncpg",
			urlfix.CodeConflict, "host"},
		{"a socket beside localhost, for lib/pq", "postgres://u:p@localhost/db?host=/tmp&pgsafe_dialect=libpq-go",
			urlfix.CodeConflict, "host"},
		{"an equals sign in another value", uri + "?application_name=a=b", urlfix.CodeSyntax, "application_name"},
		{"no socket of PostgreSQL", "postgresql+pg8000://u:p@/db?unix_sock=/tmp/x", urlfix.CodeValue, "unix_sock"},
		{"a socket and another host of pg8000", "postgresql+pg8000://u:p@h/db?host=h2&unix_sock=/tmp/.s.PGSQL.5432",
			urlfix.CodeConflict, "host"},
		{"no setting in sqlx's options", uri + "?options[password]=x", urlfix.CodeUnknownKey, "parameter"},
		{"ssl and a weaker mode of R2DBC", "r2dbc:postgresql://h/db?ssl=true&sslMode=disable", urlfix.CodeConflict,
			"sslmode"},
		{"another driver of R2DBC", "r2dbc:mysql://h/db", urlfix.CodeOtherDatabase, "scheme"},
		{"nearly a property of JDBC", "jdbc:postgresql://h/db?currentschema=x", urlfix.CodeUnknownKey, "currentschema"},
		{"nearly sslmode of JDBC", "jdbc:postgresql://h/db?sslMode=verify-full", urlfix.CodeUnknownKey, "sslMode"},
		{"a TLS property of another database", "jdbc:postgresql://h/db?requireTLS=true", urlfix.CodeUnknownKey,
			"parameter"},
		{"the rest of a password of JDBC", "jdbc:postgresql://h/db?user=u&password=s3cret&Pw9", urlfix.CodeUnknownKey,
			"parameter"},
		{"a project of Cloud SQL", "host=project:region:instance user=u", urlfix.CodeValue, "host"},
	})
	checkWarnings(t, []noted{
		{"a socket beside localhost", "postgresql://u:p@localhost/db?host=/cloudsql/p:r:i", "host"},
		{"YugabyteDB's balance", uri + "?load_balance=true", "load_balance"},
		{"an unknown property of JDBC", "jdbc:postgresql://h/db?someProperty=x", "parameter"},
	})
}
