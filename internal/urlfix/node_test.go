package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestNodeURIs(t *testing.T) {
	checkMeaning(t, []means{
		{"the scheme pg", "pg://bi%25na%25%25ry%20:s%40f%23@localhost/%20u%2520rl",
			"postgres://bi%25na%25%25ry%20:s%40f%23@localhost/%20u%2520rl"},
		{"blanks and bad escapes", "pg://my f%irst name:is&%awesome!@localhost:9000",
			"postgres://my%20f%25irst%20name:is%26%25awesome%21@localhost:9000/"},
		{"a blank in the database", "pg://localhost/post gres", "postgres://localhost/post%20gres"},
		{"an escaped slash in the database stays escaped", "pg://user:pass@localhost/%2Fdbname",
			"postgres://user:pass@localhost/%252Fdbname"},
		{"a plus in the query is a blank", "pg:///?options=-c+geqo=off", "postgres:///?options=-c%20geqo%3Doff"},
		{"the last at sign ends the userinfo, and escapes are decoded", "pg://u:p%40x@y@h/db", "postgres://u:p%40x%40y@h/db"},
		{"a socket directory as host", "pg://user:pass@%2Funix%2Fsocket/dbname",
			"postgres://user:pass@%2Funix%2Fsocket/dbname"},
		{"a socket directory in the query", "pg://user:pass@/dbname?host=/unix/socket",
			"postgres://user:pass@%2Funix%2Fsocket/dbname"},
		{"the host of the query wins", "pg://user:pass@localhost/dbname?host=/unix/socket",
			"postgres://user:pass@%2Funix%2Fsocket/dbname"},
		{"the port of the query wins", "pg://h:1/db?port=2", "postgres://h:2/db"},
		{"a socket directory before a host in the query", "pg://user:pass@%2Funix%2Fsocket:1/dbname?host=localhost",
			"postgres://user:pass@localhost:1/%252Funix%252Fsocket%2Fdbname"},
		{"user and password of the query win", "pg://u1:p1@h/db?user=u2&password=p2", "postgres://u2:p2@h/db"},
		{"the same user and password in the query", "pg://u1:p1@h/db?user=u1&password=p1", "postgres://u1:p1@h/db"},
		{"user and password of the query, and none before it", "pg:///?user=u2&password=p2", "postgres://u2:p2@/"},
		{"an empty user and password in the query do not", "pg://u1:p1@h/db?user=&password=", "postgres://u1:p1@h/db"},
		{"the database before the query wins", "pg://h/a?database=b", "postgres://h/a"},
		{"a database in the query alone", "pg://h/?database=b", "postgres://h/b"},
		{"a server setting", "pg://h/db?statement_timeout=500", "postgres://h/db?options=-c%20statement_timeout%3D500"},
		{"a setting that dburl would hand to lib/pq", "pg://h/db?search_path=app",
			"postgres://h/db?options=-c%20search_path%3Dapp"},
	})
	checkWarnings(t, []noted{
		{"another user and password", "pg://u1:p1@h/db?user=u2&password=p2", "user password"},
		{"another host", "pg://h/db?host=h2", "host"},
		{"another database", "pg://h/a?database=b", "database"},
		{"a directory that is part of the database", "pg://%2Frun/db?host=h", "database"},
		{"nothing", "pg://u:p@h/a?user=u&database=a", ""},
	})
}

func TestNodeSockets(t *testing.T) {
	checkMeaning(t, []means{
		{"a directory", "socket:/some path/?db=my[db]&encoding=utf8",
			"postgres://%2Fsome%20path%2F/my%5Bdb%5D?client_encoding=utf8"},
		{"an escaped one", "socket:/some%20path/?db=my%2Bdb", "postgres://%2Fsome%20path%2F/my%2Bdb"},
		{"user and password", "socket://brian:p%40w@/const/run/?db=mydb", "postgres://brian:p%40w@%2Fconst%2Frun%2F/mydb"},
		{"user and password in the query", "socket:/run?user=u&password=p", "postgres://u:p@%2Frun/"},
		{"an empty user and password in the query", "socket://u:p@/run?user=&password=", "postgres://u:p@%2Frun/"},
		{"another user and password in the query", "socket://u1:p1@/run?user=u2&password=p2", "postgres://u2:p2@%2Frun/"},
		{"three slashes", "socket:///run?db=d", "postgres://%2Frun/d"},
		{"a port", "socket:/run?port=5433", "postgres://%2Frun:5433/"},
	})
	checkRefusal(t, []refusal{
		{"a host", "socket://h/run?db=d", urlfix.CodeSyntax, "host"},
		{"a host after the userinfo", "socket://u:p@h/run?db=d", urlfix.CodeSyntax, "host"},
		{"a slash in the password", "socket://u:p/w@/run?db=d", urlfix.CodeSyntax, "host"},
		{"no directory", "socket://u:p@?db=d", urlfix.CodeSyntax, "host"},
		{"a relative directory", "socket:run?db=d", urlfix.CodeSyntax, "host"},
		{"an at sign in the directory", "socket:/u:p@/run?db=d", urlfix.CodeSyntax, "host"},
		{"a fragment", "socket:/run?db=d#x", urlfix.CodeSyntax, "host"},
		{"a directory that is no UTF-8", "socket:/run%e9?db=d", urlfix.CodeSyntax, "host"},
		{"a comma in the directory", "socket:/run%2Cx,y?db=d", urlfix.CodeValue, "host"},
		{"a password that is no UTF-8", "socket://u:%e9@/run", urlfix.CodeValue, "password"},
		{"a host in the query", "socket:/run?host=h", urlfix.CodeConflict, "host"},
		{"an unknown key", "socket:/run?bd=d", urlfix.CodeUnknownKey, "parameter"},
		{"another encoding", "socket:/run?encoding=latin1", urlfix.CodeValue, "client_encoding"},
		{"a blank at the end", "socket:/run?db=d ", urlfix.CodeSyntax, "string"},
		{"a bare path", "/const/run/ mydb", urlfix.CodeSyntax, "string"},
	})
}

func TestNodeParameters(t *testing.T) {
	const s = "pg://h/db?"
	checkBeside(t, []beside{
		{"the size of the pool", s + "max=20&min=2", "pool_max_conns=20 pool_min_idle_conns=2"},
		{"its older name", s + "poolSize=20", "pool_max_conns=20"},
		{"times of the pool", s + "idleTimeoutMillis=1500&maxLifetimeSeconds=60",
			"pool_max_conn_idle_time=1500ms pool_max_conn_lifetime=60s"},
		{"times without an end", s + "idleTimeoutMillis=0&maxLifetimeSeconds=0&min=0", ""},
	})
	checkMeaning(t, []means{
		{"milliseconds of connecting", s + "connectionTimeoutMillis=5000", "postgres://h/db?connect_timeout=5"},
		{"a part of a second is one", s + "connectionTimeoutMillis=500", "postgres://h/db?connect_timeout=1"},
		{"no end of connecting", s + "connectionTimeoutMillis=0", "postgres://h/db?connect_timeout=0"},
		{"keeping alive", s + "keepAlive=true&keepAliveInitialDelayMillis=10000",
			"postgres://h/db?keepalives=1&keepalives_idle=10"},
		{"not keeping alive", s + "keepAlive=false", "postgres://h/db?keepalives=0"},
		{"an encoding, which Rails alone looks at", s + "encoding=utf8", "postgres://h/db"},
		{"client_encoding", s + "client_encoding=utf8", "postgres://h/db?client_encoding=utf8"},
		{"keys without effect", s + "allowExitOnIdle=true&binary=true&parseInputDatesAsUTC=true", "postgres://h/db"},
	})
	checkWarnings(t, []noted{
		{"a time for queries", s + "query_timeout=5000", "query_timeout"},
		{"a number of uses", s + "maxUses=7500", "maxUses"},
		{"channel binding", s + "enableChannelBinding=true", "enableChannelBinding"},
	})
	checkRefusal(t, []refusal{
		{"no room in the pool", s + "max=0", urlfix.CodeValue, "max"},
		{"no number", s + "idleTimeoutMillis=1s", urlfix.CodeValue, "idleTimeoutMillis"},
		{"no boolean", s + "keepAlive=5", urlfix.CodeValue, "keepAlive"},
		{"replication", s + "replication=database", urlfix.CodeUnsupported, "replication"},
	})
}

// TestNodeChecksCertificates: in node-postgres 8, TLS is checked unless it is turned off by name.
func TestNodeChecksCertificates(t *testing.T) {
	const s, to = "pg://h/db?", "postgres://h/db?"
	checkMeaning(t, []means{
		{"sslmode=prefer is verify-full", s + "sslmode=prefer", to + "sslmode=verify-full"},
		{"sslmode=require is verify-full", s + "sslmode=require", to + "sslmode=verify-full"},
		{"sslmode=allow is verify-full", s + "sslmode=allow", to + "sslmode=verify-full"},
		{"sslmode=verify-ca is verify-full", s + "sslmode=verify-ca", to + "sslmode=verify-full"},
		{"sslmode=verify-full", s + "sslmode=verify-full", to + "sslmode=verify-full"},
		{"sslmode=disable", s + "sslmode=disable", to + "sslmode=disable"},
		{"sslmode=no-verify is require", s + "sslmode=no-verify", to + "sslmode=require"},
		{"sslmode=no-verify looks at no root certificate", s + "sslmode=no-verify&sslrootcert=ca.pem",
			to + "sslmode=require"},
		{"an empty sslmode is none", s + "sslmode=", "postgres://h/db"},
		{"ssl=true is verify-full", s + "ssl=true", to + "sslmode=verify-full"},
		{"ssl=1 is verify-full", s + "ssl=1", to + "sslmode=verify-full"},
		{"ssl=require is verify-full", s + "ssl=require", to + "sslmode=verify-full"},
		{"ssl=no-verify is require", s + "ssl=no-verify", to + "sslmode=require"},
		{"ssl=0 is disable", s + "ssl=0", to + "sslmode=disable"},
		{"ssl=false is disable", s + "ssl=false", to + "sslmode=disable"},
		{"ssl and sslmode", s + "ssl=true&sslrootcert=ca.pem&sslmode=require", to + "sslrootcert=ca.pem&sslmode=verify-full"},
		{"sslmode outranks ssl", s + "ssl=no-verify&sslmode=require", to + "sslmode=verify-full"},
		{"a root certificate alone turns TLS on", s + "sslrootcert=ca.pem", to + "sslrootcert=ca.pem&sslmode=verify-full"},
		{"a client certificate alone turns TLS on", s + "sslcert=c.pem&sslkey=k.pem",
			to + "sslcert=c.pem&sslkey=k.pem&sslmode=verify-full"},
		{"a root certificate outranks ssl=no-verify", s + "ssl=no-verify&sslrootcert=ca.pem",
			to + "sslrootcert=ca.pem&sslmode=verify-full"},
		{"direct negotiation turns TLS on", s + "sslnegotiation=direct", to + "sslnegotiation=direct&sslmode=verify-full"},
		{"direct negotiation and ssl=no-verify", s + "sslnegotiation=direct&ssl=no-verify",
			to + "sslnegotiation=direct&sslmode=require"},
		{"the usual negotiation does not", s + "sslnegotiation=postgres", to + "sslnegotiation=postgres"},

		{"uselibpqcompat with prefer never falls back to plain text", s + "sslmode=prefer&uselibpqcompat=true",
			to + "sslmode=require"},
		{"uselibpqcompat with require", s + "sslmode=require&uselibpqcompat=true", to + "sslmode=require"},
		{"uselibpqcompat with verify-ca", s + "sslmode=verify-ca&uselibpqcompat=true&sslrootcert=ca.pem",
			to + "sslrootcert=ca.pem&sslmode=verify-ca"},
		{"uselibpqcompat with verify-full", s + "sslmode=verify-full&uselibpqcompat=true", to + "sslmode=verify-full"},
		{"uselibpqcompat with disable", s + "sslmode=disable&uselibpqcompat=true", to + "sslmode=disable"},
		{"uselibpqcompat does not know allow, and verifies", s + "sslmode=allow&uselibpqcompat=true",
			to + "sslmode=verify-full"},
		{"uselibpqcompat does not know no-verify, and verifies", s + "sslmode=no-verify&uselibpqcompat=true",
			to + "sslmode=verify-full"},
		{"uselibpqcompat is about sslmode, not ssl", s + "ssl=true&uselibpqcompat=true", to + "sslmode=verify-full"},
		{"uselibpqcompat that is not true", s + "sslmode=require&uselibpqcompat=1", to + "sslmode=verify-full"},
	})
	checkRefusal(t, []refusal{
		{"verify-ca without a root certificate", s + "sslmode=verify-ca&uselibpqcompat=true", urlfix.CodeValue, "sslmode"},
		{"ssl on and sslmode off", s + "ssl=true&sslmode=disable", urlfix.CodeConflict, "sslmode"},
		{"ssl off and sslmode on", s + "ssl=0&sslmode=require", urlfix.CodeConflict, "sslmode"},
		{"ssl off and direct negotiation", s + "ssl=0&sslnegotiation=direct", urlfix.CodeValue, "sslnegotiation"},
		{"a word for off that node-postgres takes for on", s + "ssl=off", urlfix.CodeValue, "ssl"},
		{"an empty ssl", s + "ssl=", urlfix.CodeValue, "ssl"},
		{"no sslmode", s + "sslmode=required", urlfix.CodeValue, "sslmode"},
	})
	checkWarnings(t, []noted{
		{"a root certificate that is left out", s + "sslmode=no-verify&sslrootcert=ca.pem", "sslrootcert"},
	})
}

func TestNodeKeysInAPlainURI(t *testing.T) {
	const s, to = "postgres://h/db?", "postgres://h/db?"
	checkMeaning(t, []means{
		{"sslmode keeps libpq's meaning", s + "sslmode=require&idleTimeoutMillis=1", to + "sslmode=require"},
		{"uselibpqcompat with prefer never falls back to plain text", s + "sslmode=prefer&uselibpqcompat=true",
			to + "sslmode=require"},
		{"uselibpqcompat with allow verifies", s + "sslmode=allow&uselibpqcompat=true", to + "sslmode=verify-full"},
		{"uselibpqcompat with verify-ca", s + "sslmode=verify-ca&sslrootcert=ca.pem&uselibpqcompat=true",
			to + "sslmode=verify-ca&sslrootcert=ca.pem"},
		{"uselibpqcompat with no-verify verifies", s + "sslmode=no-verify&uselibpqcompat=true", to + "sslmode=verify-full"},
		{"uselibpqcompat alone", s + "uselibpqcompat=true", "postgres://h/db"},
		{"ssl=true is verify-full", s + "ssl=true&idleTimeoutMillis=1", to + "sslmode=verify-full"},
		{"ssl=true is verify-full with a key of postgres.js", s + "ssl=true&max=1", to + "sslmode=verify-full"},
		{"ssl=no-verify is require", s + "ssl=no-verify&max=1&min=1", to + "sslmode=require"},
		{"sslmode=no-verify is require", s + "sslmode=no-verify", to + "sslmode=require"},
		{"a root certificate alone turns TLS on", s + "sslrootcert=ca.pem&min=1",
			to + "sslrootcert=ca.pem&sslmode=verify-full"},
		{"milliseconds", s + "connectionTimeoutMillis=5000", to + "connect_timeout=5"},
	})
	checkWarnings(t, []noted{
		{"sslmode=require, which node-postgres verifies", s + "sslmode=require&idleTimeoutMillis=1", "sslmode"},
		{"sslmode=require with uselibpqcompat=false", s + "sslmode=require&uselibpqcompat=false", "sslmode"},
		{"sslmode=require with uselibpqcompat=true", s + "sslmode=require&uselibpqcompat=true", ""},
		{"sslmode=verify-full", s + "sslmode=verify-full&min=1", ""},
		{"sslmode=no-verify", s + "sslmode=no-verify&min=1", ""},
		{"sslmode=require, with a key that postgres.js has as well", s + "sslmode=require&max=1", ""},
	})
	checkRefusal(t, []refusal{
		{"verify-ca without a root certificate", s + "sslmode=verify-ca&uselibpqcompat=true", urlfix.CodeValue, "sslmode"},
		{"db, which only a socket: URL has", s + "db=x", urlfix.CodeUnknownKey, "db"},
	})
}

func TestNodeChangesAreReported(t *testing.T) {
	checkChanges(t, []noted{
		{"sslmode", "pg://h/db?sslmode=require", "sslmode"},
		{"ssl", "pg://h/db?ssl=true", "ssl"},
		{"a root certificate", "pg://h/db?sslrootcert=ca.pem", "sslmode"},
		{"a root certificate in a plain URI", "postgres://h/db?sslrootcert=ca.pem&min=1", "min sslmode"},
		{"sslmode=verify-full", "pg://h/db?sslmode=verify-full", ""},
	})
}
