package urlfix_test

import (
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestErrorsNameTheCause(t *testing.T) {
	for _, c := range []struct{ name, dsn, want, not string }{
		{"a port in a keyword's host", "host=h:5432 user=u", "write the port as port=5432", "percent"},
		{"a wrong port", "postgres://u:p@h:54x2/db", "65535", "percent-encode"},
		{"an alias of the password", "postgres://u@h/db?pass=s3cretPw9", "pass: its name is not known", "s3cret"},
		{"an alias of the user", "host=h username=u", "did you mean user?", ""},
		{"an alias of the host", "server=h user=u", "did you mean host?", ""},
		{"an alias of the database", "host=h db=d", "did you mean dbname?", ""},
		{"an alias in capitals", "host=h UID=u", "UID: its name is not known (at byte 7); did you mean user?", ""},
		{"a key in another case", "postgres://h/db?SSLMode=require", "SSLMode: ", ""},
		{"a key that may be a part of a password", "postgres://h/db?password=a&s3cretPw9=1", "parameter: ", "s3cret"},
		{"one at sign", "postgres://h/d@x/db", "the \"@\" may end", "more than one"},
		{"a fragment", "ecto://u:p@h/db#x", "fragment: ", ""},
		{"a variable of the environment", "DATABASE_URL=postgres://u:s3cretPw9@h/db", "environment variable", "s3cret"},
		{"a quoted variable", `DATABASE_URL="postgres://u:s3cretPw9@h/db"`, "environment variable", "s3cret"},
		{"a command of the shell", "export DATABASE_URL=postgres://u:s3cretPw9@h/db", "command of the shell", "s3cret"},
		{"psql", "psql 'postgres://u:s3cretPw9@h/db'", "command psql", "s3cret"},
		{"a byte order mark", "\ufeffpostgres://u:s3cretPw9@h/db", "byte order mark", "s3cret"},
		{"Perl's DBI", "dbi:Pg:dbname=d;host=h", "Perl's DBI", ""},
	} {
		t.Run("the error names "+c.name, func(t *testing.T) {
			d, err := urlfix.Parse(c.dsn)
			if err == nil {
				t.Fatalf("accepted as %v", d)
			}
			if !strings.Contains(err.Error(), c.want) || c.not != "" && strings.Contains(err.Error(), c.not) {
				t.Errorf("%v; want %q, and not %q", err, c.want, c.not)
			}
		})
	}
}

func TestOddValuesCauseAWarning(t *testing.T) {
	checkWarnings(t, []noted{
		{"a variable of Kubernetes as user", "postgres://$(DB_USER)@h/db", "user or password"},
		{"a variable in a file name", "host=h sslrootcert=$HOME/ca.pem", "sslrootcert"},
		{"a home directory in a file name", "postgres://h/db?sslrootcert=~/ca.pem", "sslrootcert"},
		{"a slash at the end of the database", "postgres://h/db/", "database"},
		{"a semicolon at the end of the database", "postgres://h/db;", "database"},
		{"a no-break space at the end of the database", "postgres://h/db\u00a0", "database"},
		{"a hash at the end of the database", "host=h dbname=db#", "database"},
		{"quotation marks around the password", `host=h password="x"`, "password"},
		{"numbers that are no address", "postgres://256.1.1.1/db", "host"},
	})
}
