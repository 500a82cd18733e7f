package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestARawPasswordWithOneReadingIsAccepted(t *testing.T) {
	checkMeaning(t, []means{
		{"a bracket, which libpq takes", "postgresql://u:p[w@h:5432/db", "postgres://u:p%5Bw@h:5432/db"},
		{"a hash, which libpq takes", "postgresql://u:password#@h/db", "postgres://u:password%23@h/db"},
		{"a question mark, which libpq takes", "postgresql://u:p?sslmode=disable@h/db",
			"postgres://u:p%3Fsslmode%3Ddisable@h/db"},
		{"a comma, which libpq takes", "postgresql://u:pass,word@h/db", "postgres://u:pass%2Cword@h/db"},
		{"a plus, which is literal", "postgresql://u:p+w@h/db", "postgres://u:p%2Bw@h/db"},
		{"a colon, which libpq takes", "postgresql://u:p:w@h/db", "postgres://u:p%3Aw@h/db"},
		{"an at sign", "postgresql://u:p@ssword@h/db", "postgres://u:p%40ssword@h/db"},
		{"two at signs", "postgresql://u:p@ss@word@h/db", "postgres://u:p%40ss%40word@h/db"},
		{"a slash", "postgresql://user:12a4/word@h:5432/db", "postgres://user:12a4%2Fword@h:5432/db"},
		{"everything", "postgresql://u:a@b:c/d?e#f[g]h@h:5432/db", "postgres://u:a%40b%3Ac%2Fd%3Fe%23f%5Bg%5Dh@h:5432/db"},
		{"a percent sign", "postgresql://u:pass%word@h/db", "postgres://u:pass%25word@h/db"},
		{"a blank inside", "postgresql://u:p ss@h/db", "postgres://u:p%20ss@h/db"},
		{"an at sign in the user", "postgres://me@corp:secret12@h.example:5432/db",
			"postgres://me%40corp:secret12@h.example:5432/db"},
		{"an at sign, and an IPv6 address", "postgresql://u:p@ssword@[::1]/db", "postgres://u:p%40ssword@[::1]/db"},
		{"an at sign, and an encoded socket directory", "postgresql://u:p@ssword@%2Frun%2Fpg/db",
			"postgres://u:p%40ssword@%2Frun%2Fpg/db"},
		{"an at sign, and the host in the query", "postgresql://user:p@ssword@/db?host=/var/run/postgresql",
			"postgres://user:p%40ssword@%2Fvar%2Frun%2Fpostgresql/db"},
		{"no userinfo, and a host that is none behind the only at sign", "postgresql://h?user=a@b!",
			"postgres://a%40b%21@h/"},
		{"no user", "postgresql://:p@ssword@h/db", "postgres://:p%40ssword@h/db"},
	})
}

func TestValidLibpqStringsKeepTheirMeaning(t *testing.T) {
	checkMeaning(t, []means{
		{"an at sign in the query is no userinfo", "postgresql://user:secret12@host/db?application_name=a@b",
			"postgres://user:secret12@host/db?application_name=a%40b"},
		{"an at sign in the user of the query", "postgresql://host/db?user=me@corp.com&password=secret12",
			"postgres://me%40corp.com:secret12@host/db"},
		{"escapes are decoded, also next to raw characters", "postgresql://u:p%40ss[word@h/db",
			"postgres://u:p%40ss%5Bword@h/db"},
		{"a hash in the database name", "postgresql://u:p@h/db#x", "postgres://u:p@h/db%23x"},
		{"slashes in the database name", "postgres:///var/run/x", "postgres:///var%2Frun%2Fx"},
		{"an empty password is none", "postgres://u:@h/db", "postgres://u@h/db"},
		{"an escaped control character", "postgres://u:a%0Ab@h/db", "postgres://u:a%0Ab@h/db"},
	})
}

func TestAStringWithTwoReadingsIsRefused(t *testing.T) {
	const a = urlfix.CodeAmbiguous
	checkRefusal(t, []refusal{
		{"two valid servers", "postgresql://user:pw1234@evil.example/x@host:5432/db", a, "string"},
		{"a password of digits before a slash", "postgresql://user:1234/word@host:5432/db", a, "string"},
		{"an empty port before a slash", "postgresql://user:/password@host:5432/db", a, "string"},
		{"a query without a slash before it", "postgresql://host:5432?user=u&password=p@ssword", a, "string"},
		{"a password that ends with an at sign before a slash", "postgresql://user:p@/word@host/db", a, "string"},
		{"an abstract socket", "postgresql://user:password@@localhost/db", a, "host"},
		{"an encoded slash after the first at sign", "postgres://user:p@%2FsuperSecret9@db.example.com:5432/app", a,
			"string"},
		{"an encoded slash in a list of hosts", "postgres://user:p@h1,%2FsuperSecret9@h2/db", a, "string"},
		{"an encoded slash, and no second host", "postgres://user:p@%2FsuperSecret9@/db", a, "string"},
		{"an encoded slash, for SQLAlchemy", "postgresql+psycopg2://u:p@%2FsuperSecret9@db/a", a, "password"},
		{"an encoded slash, for asyncpg", "postgres://u:p@%2FsuperSecret9@db/a?pgsafe_dialect=asyncpg", a, "password"},
		{"an encoded slash, in a form of JDBC", "jdbc:postgresql://u:p@%2FsuperSecret9@db/a", a, "password"},
		{"a socket directory with an at sign, for dburl", "pg:u:p@/superSecret9@db.example.com:5432/a", a, "host"},
		{"credentials for each host", "postgresql://user:secret12@h1,user:secret34@h2/db", a, "hosts"},
		{"a second at sign in the list of hosts", "postgresql://user:secret12@h1,h2@h3/db", a, "hosts"},
		{"an escape next to a raw slash", "postgresql://user:p%40ss/word@host:5432/db", a, "password"},
		{"a blank at the edge of the password", "postgresql://user: secret@h/db", a, "password"},
		{"a blank at the edge of the user", "postgresql://user :secret@h/db", a, "password"},
		{"escapes that are no UTF-8", "postgresql://user:abc%e9def@h/db", a, "password"},
		{"a wrong port, and an at sign in the query", "postgresql://u:secret12@host:54x2/db?application_name=a@b", a,
			"string"},
		{"a wrong port, and an at sign in the query's password", "postgresql://host:54x2/db?user=u&password=p@ssword", a,
			"string"},
		{"a wrong host, and an at sign in the database name", "postgresql://h!/d@b?password=secret12", a, "user"},
		{"an at sign in the database name", "postgresql://user:secret12@host/db@x", a, "string"},
		{"a fragment after a port", "postgresql://user:1234#x@host/db", a, "string"},
		{"an escape and a raw character in the query's password", "postgres://h/db?password=a%40b=c", a, "password"},
		{"a blank at the edge of the query's password", "postgres://h/db?password= secret12", a, "password"},
	})
}

func TestAStringWithoutAReadingIsRefused(t *testing.T) {
	checkRefusal(t, []refusal{
		{"a blank in the host", "postgresql://u:secret12@h ost/db", urlfix.CodeValue, "host"},
		{"a letter outside ASCII in the host", "postgresql://u:secret12@bücher.example/db", urlfix.CodeValue, "host"},
		{"a placeholder as host", "postgresql://u:secret12@${HOST}/db", urlfix.CodeValue, "host"},
		{"a region in brackets as host", "postgresql://u:secret12@db.[REGION].example/db", urlfix.CodeValue, "host"},
		{"no IPv6 address in the brackets", "postgresql://u:secret12@[host]/db", urlfix.CodeValue, "host"},
		{"an open bracket", "postgres://[::1", urlfix.CodeValue, "host"},
		{"text after the bracket", "postgres://[::1]x/db", urlfix.CodeValue, "host"},
		{"a comma in the encoded host", "postgres://h1%2Ch2/db", urlfix.CodeValue, "host"},
		{"an at sign in an encoded directory, and no second host", "postgres://u:secret12@%2Fdir@x%20y/db",
			urlfix.CodeValue, "host"},
		{"an encoded abstract socket", "postgres://%40name/db", urlfix.CodeUnsupported, "host"},
		{"two ports", "postgresql://u:secret12@h:5432:5433/db", urlfix.CodeValue, "port"},
		{"port zero", "postgresql://u:secret12@h:0/db", urlfix.CodeValue, "port"},
		{"a port above 65535", "postgresql://u:secret12@h:65536/db", urlfix.CodeValue, "port"},
		{"a blank in the database name", "postgresql://u:secret12@h/my db", urlfix.CodeSyntax, "database"},
		{"a broken escape in the database name", "postgresql://u:secret12@h/d%zz", urlfix.CodeSyntax, "database"},
		{"a NUL in the password", "postgres://u:sec%00ret@h/db", urlfix.CodeAmbiguous, "password"},
	})
	t.Run("the error reports the character's position and class", func(t *testing.T) {
		_, err := urlfix.Parse("postgresql://u:secret12@h!ost/db")
		e := err.(*urlfix.Error)
		if _, _, _, again := urlfix.Normalize("postgresql://u:secret12@h!ost/db", ""); again == nil ||
			again.Error() != err.Error() {
			t.Errorf("Normalize says %v", again)
		}
		if e.Pos != 25 || e.Reason != "it holds a character that no host name has (a punctuation character)" {
			t.Errorf("%d %s", e.Pos, e.Reason)
		}
	})
}
