package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestDjango(t *testing.T) {
	checkMeaning(t, []means{
		{"all parts", "postgis://u:p@h:5431/db", "postgres://u:p@h:5431/db"},
		{"a socket directory", "timescalegis://%2Fvar%2Frun%2Fpostgresql/db", "postgres://%2Fvar%2Frun%2Fpostgresql/db"},
		{"Cloud SQL's socket", "postgis://u:p@%2Fcloudsql%2Fproject_id%3Aregion%3Ainstance_id/db", "postgres://u:p@%2Fcloudsql%2Fproject_id%3Aregion%3Ainstance_id/db"},
		{"escapes", "pgsql://%23user:%23password@h/%23database", "postgres://%23user:%23password@h/%23database"},
		{"IPv6", "postgis://u:p@[2001:db8:1234::1234:5678:90af]:5431/db", "postgres://u:p@[2001:db8:1234::1234:5678:90af]:5431/db"},
		{"a list", "psql://u:p@h1:1,h2:2,[::1]:3/db", "postgres://u:p@h1:1,h2:2,[::1]:3/db"},
		{"the last at sign ends the password", "postgis://u:p@ss@h/db", "postgres://u:p%40ss@h/db"},
		{"a raw hash, on which urllib fails", "postgis://u:p#w@h/db", "postgres://u:p%23w@h/db"},
		{"a raw slash, on which urllib fails", "postgis://u:p/w@h/db", "postgres://u:p%2Fw@h/db"},
		{"a plus in the query is a blank", "postgis://h/db?application_name=a+b", "postgres://h/db?application_name=a%20b"},
		{"a socket directory as django-environ writes it", "psql:////var/run/postgresql/db", "postgres://%2Fvar%2Frun%2Fpostgresql/db"},
		{"Cloud SQL's as django-environ writes it", "pgsql://u:p@//cloudsql/project-1234:us-central1:instance/db", "postgres://u:p@%2Fcloudsql%2Fproject-1234%3Aus-central1%3Ainstance/db"},
		{"a schema", "postgis://h/db?currentSchema=otherschema", "postgres://h/db?options=-c%20search_path%3Dotherschema"},
		{"a schema in a plain URI", "postgres://h/db?currentSchema=otherschema", "postgres://h/db?options=-c%20search_path%3Dotherschema"},
		{"a service and a passfile", "redshift://h/db?service=my_service&passfile=.my_pgpass", "postgres://h/db?service=my_service&passfile=.my_pgpass"},
		{"a cluster of CockroachDB", "cockroach://h:26257/db?options=--cluster%3Dx", "postgres://h:26257/db?options=--cluster%3Dx"},
		{"a server setting", "postgis://h/db?statement_timeout=5s", "postgres://h/db?options=-c%20statement_timeout%3D5s"},
		{"an at sign in the query", "postgis://h/db?application_name=a@b", "postgres://h/db?application_name=a%40b"},
		{"an at sign in the query after a port", "postgis://h:5433/db?application_name=a@b", "postgres://h:5433/db?application_name=a%40b"},
		{"a query after a port", "postgis://h:5433?application_name=a", "postgres://h:5433/?application_name=a"},
		{"an age that is none", "postgis://h/db?conn_max_age=0", "postgres://h/db"},
		{"transactions as they are", "postgis://h/db?autocommit=True&atomic_requests=False", "postgres://h/db"},
	})
	checkRefusal(t, []refusal{
		{"ssl", "postgis://h/db?ssl=true", urlfix.CodeUnsupported, "ssl"},
		{"transactions in capitals", "postgis://h/db?AUTOCOMMIT=false", urlfix.CodeUnsupported, "AUTOCOMMIT"},
		{"a role", "postgis://h/db?assume_role=x", urlfix.CodeUnsupported, "assume_role"},
		{"a socket directory next to a host", "postgis://h//run/postgresql/db", urlfix.CodeConflict, "host"},
		{"a question mark in what may be a password", "postgis://u:?u.a=@h/db?sslmode=require", urlfix.CodeAmbiguous, "string"},
		{"digits and a question mark in what may be a password", "postgis://u:12?u.a=@h/db", urlfix.CodeAmbiguous, "string"},
		{"an unknown key", "postgis://h/db?isolation=1", urlfix.CodeUnknownKey, "parameter"},
	})
	checkBeside(t, []beside{
		{"an age", "postgis://h/db?conn_max_age=600", "pool_max_conn_lifetime=600s"},
		{"an age in capitals", "postgis://h/db?CONN_MAX_AGE=600", "pool_max_conn_lifetime=600s"},
		{"an age in a plain URI", "postgres://h/db?conn_max_age=600", "pool_max_conn_lifetime=600s"},
	})
	checkLeftOut(t, "postgis://h/db?", "postgres://h/db", `
		atomic_requests conn_health_checks disable_server_side_cursors server_side_binding timeout
		charset=utf8&ATOMIC_REQUESTS CONN_HEALTH_CHECKS DISABLE_SERVER_SIDE_CURSORS serverVersion`)
	checkWarnings(t, []noted{
		{"a database that is a socket directory is left alone next to a host parameter", "postgis:////run/db?host=/tmp", "database"},
	})
}
