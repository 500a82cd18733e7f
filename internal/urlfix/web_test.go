package urlfix_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// as names the dialect of a URI in its query.
func as(dialect, dsn string) string {
	separator := "?"
	if strings.LastIndexByte(dsn, '?') > strings.LastIndexByte(dsn, '@') {
		separator = "&"
	}
	return dsn + separator + "pgsafe_dialect=" + dialect
}

// beside is a table row: a string, and what it has beside its URI: keys of the pool and the driver.
type beside struct {
	name, dsn, keys string
}

func checkBeside(t *testing.T, rows []beside) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := mustParse(t, row.dsn)
			var keys []string
			for _, p := range slices.Concat(d.Pool, d.Driver) {
				if p.Key != "pgsafe_dialect" {
					keys = append(keys, p.Key+"="+p.Value)
				}
			}
			if got := strings.Join(keys, " "); got != row.keys {
				t.Errorf("got %q, want %q", got, row.keys)
			}
		})
	}
}

// noted is a table row: a string, and the parts that there are notes about, with blanks between them.
type noted struct {
	name, dsn, parts string
}

func checkWarnings(t *testing.T, rows []noted) {
	t.Helper()
	checkNotes(t, rows, func(d *urlfix.DSN) []urlfix.Note { return d.Warnings })
}

func checkChanges(t *testing.T, rows []noted) {
	t.Helper()
	checkNotes(t, rows, func(d *urlfix.DSN) []urlfix.Note { return d.Changes })
}

func checkNotes(t *testing.T, rows []noted, of func(*urlfix.DSN) []urlfix.Note) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := mustParse(t, row.dsn)
			var parts []string
			for _, n := range of(d) {
				parts = append(parts, n.Part)
			}
			if got := strings.Join(parts, " "); got != row.parts {
				t.Errorf("notes are %v, want them on %q", of(d), row.parts)
			}
		})
	}
}

// webDialects read a plain URI with the URL library of their language.
var webDialects = []string{"asyncpg", "django", "node", "postgresjs", "prisma", "rails"}

func TestURLLibrariesAgree(t *testing.T) {
	for _, dialect := range webDialects {
		t.Run(dialect, func(t *testing.T) {
			checkMeaning(t, []means{
				{"all parts", as(dialect, "postgres://u:p@h:5433/db"), "postgres://u:p@h:5433/db"},
				{"escapes in user, password and database", as(dialect, "postgresql://u%40x:p%2Fw@h/d%20b"),
					"postgres://u%40x:p%2Fw@h/d%20b"},
				{"a bad escape stands for itself", as(dialect, "postgres://u:50%off@h/d%b"), "postgres://u:50%25off@h/d%25b"},
				{"colons in the password", as(dialect, "postgres://u:a:b@h/db"), "postgres://u:a%3Ab@h/db"},
				{"a plus in the password", as(dialect, "postgres://u:a+b@h/db"), "postgres://u:a%2Bb@h/db"},
				{"an at sign in the password", as(dialect, "postgres://u:p@ss@h/db"), "postgres://u:p%40ss@h/db"},
				{"a slash in the password, which all of them fail on", as(dialect, "postgres://u:p/w@h/db"),
					"postgres://u:p%2Fw@h/db"},
				{"a hash in the password, which all of them fail on", as(dialect, "postgres://u:p#w@h/db"),
					"postgres://u:p%23w@h/db"},
				{"a question mark in the password, which all of them fail on", "postgres://u:p?w@h/db?pgsafe_dialect=" + dialect,
					"postgres://u:p%3Fw@h/db"},
				{"brackets in the password", as(dialect, "postgres://u:p[w]@h/db"), "postgres://u:p%5Bw%5D@h/db"},
				{"no userinfo", as(dialect, "postgres://h/db"), "postgres://h/db"},
				{"a user alone", as(dialect, "postgres://u@h/db"), "postgres://u@h/db"},
				{"IPv6", as(dialect, "postgres://u:p@[::1]:5433/db"), "postgres://u:p@[::1]:5433/db"},
				{"an empty parameter", as(dialect, "postgres://h/db?sslmode=disable&"), "postgres://h/db?sslmode=disable"},
				{"the last one of several values", as(dialect, "postgres://h/db?application_name=a&application_name=b"),
					"postgres://h/db?application_name=b"},
				{"a socket directory", as(dialect, "postgres://u@/db?host=/var/run"), "postgres://u@%2Fvar%2Frun/db"},
			})
			checkRefusal(t, []refusal{
				{"a fragment", "postgres://u:p@h/db?pgsafe_dialect=" + dialect + "#x", urlfix.CodeSyntax, "fragment"},
				{"a port that may be a password", as(dialect, "postgres://u:12/x@h/db"), urlfix.CodeSyntax, "database"},
				{"credentials for each host", as(dialect, "postgres://u:p@h1,u:p@h2/db"), urlfix.CodeAmbiguous, "hosts"},
				{"a host that is none", as(dialect, "postgres://u:p@h h/db"), urlfix.CodeValue, "host"},
				{"escapes of the password that are no UTF-8", as(dialect, "postgres://u:p%e9@h/db"), urlfix.CodeValue, "password"},
				{"escapes of the database that are no UTF-8", as(dialect, "postgres://u:p@h/%e9"), urlfix.CodeValue, "database"},
				{"NUL in the database", as(dialect, "postgres://u:p@h/%00"), urlfix.CodeValue, "database"},
				{"an unknown key", as(dialect, "postgres://u:p@h/db?conect_timeout=5"), urlfix.CodeUnknownKey, "parameter"},
				{"no equals sign", as(dialect, "postgres://u:p@h/db?sslmode"), urlfix.CodeSyntax, "query"},
				{"a blank at the end", "postgres://u:p@h/db?pgsafe_dialect=" + dialect + " ", urlfix.CodeSyntax, "string"},
				{"too many parameters", as(dialect, "postgres://h/db?"+strings.Repeat("sslmode=disable&", 1001)),
					urlfix.CodeTooLong, "parameters"},
			})
		})
	}
}

func FuzzWeb(f *testing.F) {
	hermetic(f)
	for _, seed := range []struct{ user, password, host, query string }{
		{"user", "p@ss/w:rd", "h.example", "sslmode=require"},
		{"user", "p%40ss", "h.example", "ssl=true&max=5&idleTimeoutMillis=10"},
		{"user", "p?ss", "h.example", "schema=app&sslaccept=strict&pgbouncer=true"},
		{"me@corp", "[x]#", "h.example", "host=h2:5433&database=x&min_size=2"},
		{"user", "", "h.example", "pool=5&encoding=utf8&username=x"},
		{"", "p@%2f", "h.example", "uselibpqcompat=true&sslmode=prefer&host=%2Ftmp"},
	} {
		f.Add(seed.user, seed.password, seed.host, seed.query)
	}
	f.Fuzz(func(t *testing.T, user, password, host, query string) {
		user, host = rawUser(user), rawHost(host)
		for _, dialect := range webDialects {
			checkRawAs(t, dialect, user, password, host)
			checkAccepted(t, as(dialect, "postgres://"+user+":p@"+host+"/db?"+query))
		}
		checkAccepted(t, "pg://"+user+":p@%2f"+host+"/db?"+query)
		checkAccepted(t, "socket://"+user+":p@/"+host+"/?"+query)
		checkAccepted(t, "postgres://"+user+":p@"+host+"/db?"+query)
	})
}

// checkRawAs is checkRaw for a dialect that is named. Escapes are decoded, so a password with one may change.
func checkRawAs(t *testing.T, dialect, user, password, host string) {
	dsn := as(dialect, "postgres://"+user+":"+password+"@"+host+"/db?application_name=x")
	d := checkAccepted(t, dsn)
	if d == nil {
		return
	}
	if len(d.Hosts) != 1 || d.Hosts[0].Name != host {
		t.Fatalf("%q goes to %v, want %s", dsn, d.Hosts, host)
	}
	if d.User+":"+d.Password.Reveal() != user+":"+password && !strings.Contains(password, "%") {
		t.Fatalf("%q has user %q and password %q", dsn, d.User, d.Password.Reveal())
	}
}
