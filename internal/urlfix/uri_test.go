package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestHostsOfAURI(t *testing.T) {
	checkMeaning(t, []means{
		{"one host", "postgres://h/db", "postgres://h/db"},
		{"several with ports", "postgres://h1:1,h2:2,h3:3/db", "postgres://h1:1,h2:2,h3:3/db"},
		{"several, some with ports", "postgres://h1,h2:2/db", "postgres://h1,h2:2/db"},
		{"several without ports", "postgres://h1,h2/db", "postgres://h1,h2/db"},
		{"an empty element is the local server", "postgres://u@h,/db", "postgres://u@h,/db"},
		{"a port alone", "postgres://:5433/db", "postgres://:5433/db"},
		{"an empty port", "postgres://h:/db", "postgres://h/db"},
		{"an empty port alone", "postgres://:/db", "postgres:///db"},
		{"an escaped name", "postgresql://%68ost/", "postgres://host/"},
		{"an escaped port", "postgresql://host:%35433/", "postgres://host:5433/"},
		{"IPv6", "postgres://[2001:db8::1]:5433/db", "postgres://[2001:db8::1]:5433/db"},
		{"IPv6 with a zone", "postgres://[fe80::1%25eth0]/db", "postgres://[fe80::1%25eth0]/db"},
		{"IPv6 in the query", "postgres:///db?host=::1", "postgres://[::1]/db"},
		{"a socket directory", "postgres://%2Fvar%2Frun:5433/db", "postgres://%2Fvar%2Frun:5433/db"},
		{"an encoded at sign in a socket directory", "postgres://%2Ftmp%2Fa%40b/db", "postgres://%2Ftmp%2Fa%40b/db"},
		{"a socket directory in the query", "postgres:///db?host=/cloudsql/p:r:i", "postgres://%2Fcloudsql%2Fp%3Ar%3Ai/db"},
		{"a port for the host in the query", "postgres://u@:12345/db?host=/sockets", "postgres://u@%2Fsockets:12345/db"},
		{"a list in the query leaves the port to PGPORT", "postgres:///db?host=h1,h2", "postgres:///db?host=h1,h2"},
		{"one port for a list", "postgres:///db?host=h1,h2&port=5433", "postgres://h1:5433,h2:5433/db"},
		{"ports for a list", "postgres:///db?host=h1,h2,h3&port=1,,3", "postgres://h1:1,h2,h3:3/db"},
		{"an empty host in the query shuts out PGHOST", "postgres:///db?host=", "postgres:///db?host="},
		{"an empty host and a port in the query", "postgres:///db?host=&port=5433", "postgres:///db?host=&port=5433"},
		{"an empty port in the query shuts out PGPORT", "postgres://h/db?port=", "postgres://h:5432/db"},
		{"the same host and port twice", "postgres://h:5433/db?host=h&port=5433", "postgres://h:5433/db"},
		{"a port for a list of the authority", "postgres://h1,h2/db?port=5433", "postgres://h1:5433,h2:5433/db"},
		{"an underscore in the name", "postgres://my_db.internal/db", "postgres://my_db.internal/db"},
	})
	checkRefusal(t, []refusal{
		{"two hosts", "postgres://h1/db?host=h2", urlfix.CodeConflict, "host"},
		{"two lists", "postgres://h1,h2/db?host=h2,h1", urlfix.CodeConflict, "host"},
		{"two ports", "postgres://h:1/db?port=2", urlfix.CodeConflict, "port"},
		{"more ports than hosts", "postgres://h/db?port=1,2", urlfix.CodeValue, "port"},
		{"fewer ports than hosts", "postgres:///db?host=a,b,c&port=1,2", urlfix.CodeValue, "port"},
		{"no number as port", "postgres://h/db?port=x", urlfix.CodeValue, "port"},
		{"a colon and no port in the query's host", "postgres:///db?host=h:x", urlfix.CodeValue, "host"},
		{"ports in the query's host and beside it", "postgres:///db?host=h:5432&port=5433", urlfix.CodeValue, "host"},
		{"a comma in a socket directory", "postgres://%2Ftmp%2Cx/db", urlfix.CodeValue, "host"},
		{"an at sign in the query's host", "postgres:///db?host=a@b", urlfix.CodeValue, "host"},
		{"an abstract socket in the query", "postgres:///db?host=@name", urlfix.CodeUnsupported, "host"},
	})
}

func TestParametersOfAURI(t *testing.T) {
	checkMeaning(t, []means{
		{"keep their order", "postgres://h/db?sslmode=require&connect_timeout=5&application_name=x",
			"postgres://h/db?sslmode=require&connect_timeout=5&application_name=x"},
		{"user and password move to the front", "postgres://h/db?user=u&password=p", "postgres://u:p@h/db"},
		{"dbname may repeat the path", "postgres://h/a?dbname=a&database=a", "postgres://h/a"},
		{"a plus is a plus", "postgres://h/db?application_name=a+b", "postgres://h/db?application_name=a%2Bb"},
		{"blanks around a name and its value are trimmed, as in libpq 18",
			"postgresql://host?  user = uri-user & port  = 12345 ", "postgres://uri-user@host:12345/"},
		{"blanks at the edges are trimmed, as in libpq 18", "postgres://h/db? application_name = x &sslmode=require",
			"postgres://h/db?application_name=x&sslmode=require"},
		{"the last one of several counts, as in libpq", "postgres://h/db?application_name=a&application_name=b",
			"postgres://h/db?application_name=b"},
		{"an empty query", "postgres://h/db?", "postgres://h/db"},
		{"an ampersand at the end", "postgres://h/db?sslmode=require&", "postgres://h/db?sslmode=require"},
		{"a query without a slash", "postgres://h?sslmode=require", "postgres://h/?sslmode=require"},
		{"a raw equals sign in the password", "postgres://h/db?user=u&password=pa=ssword", "postgres://u:pa%3Dssword@h/db"},
		{"a raw percent sign in the password", "postgres://h/db?user=u&password=100%x", "postgres://u:100%25x@h/db"},
		{"the same user twice", "postgres://u@h/db?user=u", "postgres://u@h/db"},
		{"an encoded key", "postgres://h/db?sslm%6fde=require", "postgres://h/db?sslmode=require"},
		{"sslpassword comes last", "postgres://h/db?sslpassword=x&sslmode=require",
			"postgres://h/db?sslmode=require&sslpassword=x"},
		{"the scheme in capitals", "PostgreSQL://h/db", "postgres://h/db"},
	})
	checkRefusal(t, []refusal{
		{"no equals sign", "postgres://h/db?sslmode", urlfix.CodeSyntax, "query"},
		{"an empty pair", "postgres://h/db?sslmode=require&&connect_timeout=5", urlfix.CodeSyntax, "query"},
		{"two equals signs", "postgres://h/db?options=-c a=b", urlfix.CodeSyntax, "options"},
		{"a raw equals sign", "postgres://h/db?application_name=a=b", urlfix.CodeSyntax, "application_name"},
		{"a blank inside", "postgres://h/db?application_name=my app", urlfix.CodeSyntax, "application_name"},
		{"a broken escape", "postgres://h/db?application_name=%zz", urlfix.CodeSyntax, "application_name"},
		{"a broken escape in a key", "postgres://h/db?ssl%mode=require", urlfix.CodeSyntax, "query"},
		{"a raw ampersand in the password", "postgres://h/db?password=sec&ret12", urlfix.CodeSyntax, "query"},
		{"a raw ampersand and equals sign in the password", "postgres://h/db?password=sec&ret=12", urlfix.CodeUnknownKey,
			"parameter"},
		{"two users", "postgres://u1@h/db?user=u2", urlfix.CodeConflict, "user"},
		{"two passwords", "postgres://u:secret12@h/db?password=secret34", urlfix.CodeConflict, "password"},
		{"an unknown key", "postgres://h/db?nosuch=param", urlfix.CodeUnknownKey, "parameter"},
		{"a keyword in capitals", "postgres://h/db?SSLMODE=require", urlfix.CodeUnknownKey, "SSLMODE"},
		{"a misspelt pool key", "postgres://h/db?pool_max_con=5", urlfix.CodeUnknownKey, "parameter"},
		{"an unknown key of pgsafe", "postgres://h/db?pgsafe_odd=5", urlfix.CodeUnknownKey, "parameter"},
		{"a whole connection string as dbname", "postgres:///?dbname=postgres://x", urlfix.CodeValue, "database"},
	})
}

func TestAMisspeltKeyGetsTheRightNameInItsHint(t *testing.T) {
	for key, want := range map[string]string{
		"sslmod": "sslmode", "SSLMODE": "sslmode", "sslrootcrt": "sslrootcert", "pool_max_con": "pool_max_conns",
		"pgsafe_con": "pgsafe_conn", "conect_timeout": "connect_timeout", "dbnane": "dbname",
	} {
		t.Run(key, func(t *testing.T) {
			_, err := urlfix.Parse("postgres://h/db?" + key + "=x")
			if e := err.(*urlfix.Error); e.Hint != "did you mean "+want+"?" {
				t.Errorf("hint is %q", e.Hint)
			}
		})
	}
}

func TestServerSettings(t *testing.T) {
	checkMeaning(t, []means{
		{"server settings become options", "postgres://h/db?search_path=app",
			"postgres://h/db?options=-c%20search_path%3Dapp"},
		{"the names of server settings have no case", "postgres://h/db?TimeZone=UTC",
			"postgres://h/db?options=-c%20timezone%3DUTC"},
		{"a server setting may be the application's own", "postgres://h/db?app.tenant=7",
			"postgres://h/db?options=-c%20app.tenant%3D7"},
		{"server settings are escaped for the server", `postgres://h/db?search_path=a%20b%5C`,
			`postgres://h/db?options=-c%20search_path%3Da%5C%20b%5C%5C`},
		{"server settings follow the options of the string",
			"postgres://h/db?options=-c%20a.b%3D1&search_path=app&sslmode=require",
			"postgres://h/db?options=-c%20a.b%3D1%20-c%20search_path%3Dapp&sslmode=require"},
	})
	t.Run("server settings are reported separately to the driver", func(t *testing.T) {
		d := mustParse(t, "postgres://h/db?search_path=a&search_path=b&application_name=x")
		if len(d.Settings) != 1 || d.Settings[0] != (urlfix.Param{Key: "search_path", Value: "b"}) {
			t.Errorf("settings are %v", d.Settings)
		}
		if want := "postgres://h/db?application_name=x"; d.SafeURI() != want {
			t.Errorf("got %s, want %s", d.SafeURI(), want)
		}
	})
	checkRefusal(t, []refusal{
		{"an empty name after the dot", "postgres://h/db?app.=7", urlfix.CodeUnknownKey, "parameter"},
		{"a digit after the dot", "postgres://h/db?app.1=7", urlfix.CodeUnknownKey, "parameter"},
		{"a setting that only the server's owner may change", "postgres://h/db?shared_buffers=7", urlfix.CodeUnknownKey,
			"parameter"},
	})
}

func TestPoolAndDriverKeysAreNotInTheURI(t *testing.T) {
	d := mustParse(t, "postgres://h/db?pool_max_conns=5&pgsafe_conn=native&sslmode=require&default_query_exec_mode=exec")
	if want := "postgres://h/db?sslmode=require"; d.URI() != want {
		t.Errorf("got %s, want %s", d.URI(), want)
	}
	if len(d.Pool) != 1 || d.Pool[0].Key != "pool_max_conns" {
		t.Errorf("pool is %v", d.Pool)
	}
	if len(d.Driver) != 2 || d.Driver[0].Key != "pgsafe_conn" || d.Driver[1].Value != "exec" {
		t.Errorf("driver is %v", d.Driver)
	}
	checkMeaning(t, []means{
		{"a dialect that is named", "postgres://h/db?pgsafe_dialect=libpq", "postgres://h/db"},
		{"a dialect that is named, of SQLAlchemy", "postgresql+asyncpg://h/db?pgsafe_dialect=asyncpg", "postgres://h/db"},
	})
	checkRefusal(t, []refusal{{"an unknown dialect", "postgres://h/db?pgsafe_dialect=perl", urlfix.CodeValue,
		"pgsafe_dialect"}})
}
