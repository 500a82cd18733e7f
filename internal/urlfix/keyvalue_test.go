package urlfix_test

import (
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestKeywordValueStrings(t *testing.T) {
	checkMeaning(t, []means{
		{"plain", "host=h port=5433 user=u password=secret dbname=d sslmode=disable",
			"postgres://u:secret@h:5433/d?sslmode=disable"},
		{"blanks around", "  host = h   user= u ", "postgres://u@h/"},
		{"quotes", "user='a \\'b' password='correct horse\\\\' host=h", "postgres://a%20%27b:correct%20horse%5C@h/"},
		{"a quoted value ends where its quote does", "user='u'host=h", "postgres://u@h/"},
		{"semicolons in quotes, before a blank", "password='a;;b' host=h", "postgres://:a%3B%3Bb@h/"},
		{"semicolons in quotes at the end", `host='/s\\;;x'`, "postgres://%2Fs%5C%3B%3Bx/"},
		{"an escaped quote before a semicolon", `password='#\';' host=h`, "postgres://:%23%27%3B@h/"},
		{"an escaped quote before what looks like a key of ADO.NET", `password='a\';host=b' host=h`,
			"postgres://:a%27%3Bhost%3Db@h/"},
		{"a backslash in an unquoted value", `host=h password=pa\wd`, "postgres://:pawd@h/"},
		{"a backslash at the end", `host=h password=pa\`, "postgres://:pa@h/"},
		{"an escaped blank", `host=h password=pa\ wd`, "postgres://:pa%20wd@h/"},
		{"special characters of a URI", "host=h user=u password=p@/:?#%41+=; dbname=d",
			"postgres://u:p%40%2F%3A%3F%23%2541%2B%3D%3B@h/d"},
		{"a password that looks like an ADO.NET string", "host=h password=a;port dbname=d", "postgres://:a%3Bport@h/d"},
		{"a comma at the end of the password", "password=secret, host=h", "postgres://:secret%2C@h/"},
		{"an empty user is the default", "host=h dbname=d user=", "postgres://h/d"},
		{"an empty user in quotes", "user='' host=h", "postgres://h/"},
		{"an empty host in quotes is the local server", "host='' user=u", "postgres://u@/?host="},
		{"an empty host and a port", "host='' port=5433", "postgres:///?host=&port=5433"},
		{"a socket directory", "host=/var/run/psql", "postgres://%2Fvar%2Frun%2Fpsql/"},
		{"IPv6", "host=::1 port=5433", "postgres://[::1]:5433/"},
		{"one port for all hosts", "host=a,b port=5433", "postgres://a:5433,b:5433/"},
		{"a port for each host", "host=a,b port=1,2", "postgres://a:1,b:2/"},
		{"hosts without a port leave it to PGPORT", "host=a,b", "postgres:///?host=a,b"},
		{"a server setting", "host=h TimeZone=Asia/Shanghai", "postgres://h/?options=-c%20timezone%3DAsia/Shanghai"},
		{"options", "options='-c search_path=a'", "postgres:///?options=-c%20search_path%3Da"},
		{"the last one of several counts", "host=a application_name=b application_name=c", "postgres://a/?application_name=c"},
		{"a URI as value", "host=h application_name=x://y", "postgres://h/?application_name=x://y"},
		{"brackets around addresses", "host=[::1],[::2]", "postgres:///?host=::1,::2"},
		{"tabs and newlines between parameters", "\n host=h\tuser = \t u\r\n password='a b'\n", "postgres://u:a%20b@h/"},
		{"a quote inside a value is no quote", "password=it's\tuser=u\napplication_name='a b'",
			"postgres://u:it%27s@/?application_name=a%20b"},
		{"database is dbname", "host=h database=d", "postgres://h/d"},
	})
	checkRefusal(t, []refusal{
		{"an empty value that swallows the next parameter", "host= user=u password=secret dbname=d", urlfix.CodeAmbiguous,
			"host"},
		{"an empty password that swallows the next parameter", "password= user=u host=h", urlfix.CodeAmbiguous, "password"},
		{"commas between parameters", "host=h, user=u, password=secret", urlfix.CodeSyntax, "host"},
		{"a word without equals sign", "application_name=my app host=x", urlfix.CodeSyntax, "keyword"},
		{"a word at the end", "host=h hello", urlfix.CodeSyntax, "keyword"},
		{"an open quote", "dbname='test 2 user=tester password=secret", urlfix.CodeSyntax, "dbname"},
		{"an open quote with a backslash at the end", `password='secret\`, urlfix.CodeSyntax, "password"},
		{"an empty keyword", "=x host=h", urlfix.CodeUnknownKey, "parameter"},
		{"an unknown keyword", "host=h colour=red", urlfix.CodeUnknownKey, "parameter"},
		{"ssl, which only URIs have", "host=h ssl=true", urlfix.CodeUnsupported, "ssl"},
		{"a semicolon in the host", "host=h;user=u password=x", urlfix.CodeAmbiguous, "host"},
		{"an at sign in the host", "host=u@h", urlfix.CodeValue, "host"},
		{"no address in brackets", "host=[h]", urlfix.CodeValue, "host"},
		{"fewer ports than hosts", "host=foo,bar,baz port=1,2", urlfix.CodeValue, "port"},
		{"ports without hosts", "port=1,2", urlfix.CodeValue, "port"},
		{"no number as port", "host=h port=x", urlfix.CodeValue, "port"},
		{"an escape in the port", "host=h port=%35", urlfix.CodeValue, "port"},
		{"a connection string as dbname", "host=h dbname=postgres://u:secret12@h/db", urlfix.CodeValue, "database"},
		{"user and password before the host, without a scheme", "u:secret12@h/db?sslmode=require", urlfix.CodeUnknownKey,
			"parameter"},
	})
	t.Run("a backslash in a value causes a warning", func(t *testing.T) {
		d, err := urlfix.Parse(`host=h password=pa\wd`)
		if err != nil || len(d.Warnings) != 1 || !strings.Contains(d.Warnings[0].Text, "backslash") {
			t.Errorf("%v %v", err, d.Warnings)
		}
	})
}
