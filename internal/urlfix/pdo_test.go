package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestPDO(t *testing.T) {
	const s = "pgsql:"
	checkMeaning(t, []means{
		{"semicolons", s + "host=localhost;port=5432;dbname=testdb;user=bruce;password=mypass", "postgres://bruce:mypass@localhost:5432/testdb"},
		{"blanks", s + "host=localhost port=5432 dbname=testdb", "postgres://localhost:5432/testdb"},
		{"a semicolon at the end, and blanks after others", s + "host=h; dbname=d;", "postgres://h/d"},
		{"nothing", s, "postgres:///"},
		{"capitals in the prefix", "PgSQL:host=h", "postgres://h/"},
		{"a value in quotes", s + "host=h;user=u;password='my pass'", "postgres://u:my%20pass@h/"},
		{"an escaped quote", s + `host=h;password='it\'s'`, "postgres://:it%27s@h/"},
		{"a socket directory", s + "host=/tmp;dbname=d", "postgres://%2Ftmp/d"},
		{"TLS", s + "host=h;sslmode=verify-full;sslrootcert=ca.pem", "postgres://h/?sslmode=verify-full&sslrootcert=ca.pem"},
		{"options", s + "host=h;options='--client_encoding=UTF8'", "postgres://h/?options=--client_encoding%3DUTF8"},
		{"MySQL's key", s + "host=h;charset=utf8", "postgres://h/?client_encoding=UTF8"},
	})
	checkRefusal(t, []refusal{
		{"a semicolon in quotes", s + "host=h;password='a;b'", urlfix.CodeAmbiguous, "password"},
		{"a semicolon with a backslash", s + `host=h;password=a\;b`, urlfix.CodeAmbiguous, "password"},
		{"a semicolon in the password", s + "host=h;password=a;b", urlfix.CodeSyntax, "keyword"},
		{"a value that is missing", s + "host=h;password=;dbname=d", urlfix.CodeAmbiguous, "password"},
		{"another encoding", s + "host=h;charset=latin1", urlfix.CodeValue, "charset"},
		{"ssl", s + "host=h;ssl=true", urlfix.CodeUnsupported, "ssl"},
		{"a server setting, which libpq refuses", s + "host=h;search_path=x", urlfix.CodeUnknownKey, "parameter"},
	})
}

func TestDoctrineAndLaravel(t *testing.T) {
	checkMeaning(t, []means{
		{"Symfony's own example", "postgresql://app:!ChangeMe!@127.0.0.1:5432/app?serverVersion=16&charset=utf8", "postgres://app:%21ChangeMe%21@127.0.0.1:5432/app"},
		{"a scheme of Doctrine's", "pdo-pgsql://u:p%40ss@h/db?serverVersion=16&charset=UTF-8&sslmode=require", "postgres://u:p%40ss@h/db?sslmode=require"},
		{"Laravel's scheme", "pgsql://u:p@ss@h/db?charset=utf8&search_path=x", "postgres://u:p%40ss@h/db?options=-c%20search_path%3Dx"},
	})
	checkRefusal(t, []refusal{
		{"another encoding", "postgresql://h/db?charset=latin1", urlfix.CodeValue, "charset"},
		{"a piece of the database's name", "pdo-pgsql://h/db?dbname_suffix=_test", urlfix.CodeUnsupported, "dbname_suffix"},
		{"MySQL's key for a socket", "pdo-pgsql://h/db?unix_socket=/tmp", urlfix.CodeUnsupported, "unix_socket"},
	})
	checkLeftOut(t, "pdo-pgsql://h/db?", "postgres://h/db", "serverVersion driver persistent default_dbname")
}
