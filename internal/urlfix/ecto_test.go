package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestEcto(t *testing.T) {
	const s = "ecto://eric:hunter2@host:12345/mydb"
	const uri = "postgres://eric:hunter2@host:12345/mydb"
	checkMeaning(t, []means{
		{"all parts", s, uri},
		{"a plus and escapes", "ecto://eric:it+%D0%B9@host:12345/mydb", "postgres://eric:it%2B%D0%B9@host:12345/mydb"},
		{"an escaped hash", "ecto://eric:pass*%23word@host/mydb", "postgres://eric:pass%2A%23word@host/mydb"},
		{"a colon in the password", "ecto://user:top:secret@host/mydb", "postgres://user:top%3Asecret@host/mydb"},
		{"no host", "ecto:///mydb", "postgres:///mydb"},
		{"no userinfo", "ecto://host:12345/mydb", "postgres://host:12345/mydb"},
		{"no TLS", s + "?ssl=false", uri + "?sslmode=disable"},
		{"no TLS twice", s + "?ssl=false&sslmode=disable", uri + "?sslmode=disable"},
		{"TLS", s + "?ssl=true", uri + "?sslmode=verify-full&sslrootcert=system"},
		{"TLS with a root", s + "?ssl=true&sslrootcert=ca.pem", uri + "?sslrootcert=ca.pem&sslmode=verify-full"},
		{"milliseconds to connect", s + "?connect_timeout=1500", uri + "?connect_timeout=2"},
		{"no limit to connect", s + "?connect_timeout=infinity", uri},
		{"a socket directory", "ecto:///mydb?socket_dir=/tmp", "postgres://%2Ftmp/mydb"},
		{"host and user in the query", "ecto:///mydb?hostname=h&username=u", "postgres://u@h/mydb"},
		{"a kind of server", s + "?target_server_type=secondary", uri + "?target_session_attrs=standby"},
		{"a schema, which Postgrex does not look at", s + "?currentSchema=my_schema", uri},
	})
	checkRefusal(t, []refusal{
		{"a path", "ecto://eric:hunter2@host:123/a/b/c", urlfix.CodeSyntax, "database"},
		{"an empty path", "ecto://eric:hunter2@host:123/", urlfix.CodeSyntax, "database"},
		{"no path", "ecto://eric:hunter2@host:123", urlfix.CodeSyntax, "database"},
		{"a port that is none", "ecto://eric:hunter2@host:x/mydb", urlfix.CodeValue, "port"},
		{"an ssl that is neither", s + "?ssl=require", urlfix.CodeValue, "ssl"},
		{"a time of words", s + "?connect_timeout=soon", urlfix.CodeValue, "connect_timeout"},
		{"a socket", s + "?socket=/tmp/.s.PGSQL.5432", urlfix.CodeUnsupported, "socket"},
		{"endpoints", s + "?endpoints=x", urlfix.CodeUnsupported, "endpoints"},
		{"parameters", s + "?parameters=x", urlfix.CodeUnsupported, "parameters"},
		{"an unknown key", s + "?unknown_param=value", urlfix.CodeUnknownKey, "parameter"},
		{"a pool of no number", s + "?pool_size=123binrem", urlfix.CodeValue, "pool_size"},
		{"a pool without room", s + "?pool_size=0", urlfix.CodeValue, "pool_size"},
	})
	checkBeside(t, []beside{
		{"a pool", s + "?pool_size=5", "pool_max_conns=5"},
		{"a pool in a plain URI", "postgres://h/db?pool_size=5&timeout=15000", "pool_max_conns=5"},
		{"milliseconds to wait", s + "?pool_timeout=1500", "pool_acquire_timeout=1500ms"},
		{"unnamed statements", s + "?prepare=unnamed", "default_query_exec_mode=exec"},
		{"named statements", s + "?prepare=named", ""},
	})
	checkLeftOut(t, s+"?", uri, `
		timeout handshake_timeout ping_timeout pool_count idle_interval idle_limit queue_target queue_interval stacktrace
		show_sensitive_data_on_connection_error log`)
}
