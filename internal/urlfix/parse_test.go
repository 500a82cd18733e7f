package urlfix_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// mustParse reads a string that is valid.
func mustParse(t testing.TB, dsn string) *urlfix.DSN {
	t.Helper()
	d, err := urlfix.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// means is a table row: a string, and the canonical URI with its meaning.
type means struct {
	name, dsn, uri string
}

func checkMeaning(t *testing.T, rows []means) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := mustParse(t, row.dsn)
			if got := d.URI(); got != row.uri {
				t.Errorf("got  %s\nwant %s", got, row.uri)
			}
			again, _, _, err := urlfix.Normalize(row.uri, "")
			if err != nil {
				t.Fatalf("the canonical URI is refused: %v", err)
			}
			if again != row.uri {
				t.Errorf("the canonical URI becomes %s", again)
			}
		})
	}
}

// refusal is a table row: a string, and the code and part of its error.
type refusal struct {
	name, dsn string
	code      urlfix.Code
	part      string
}

func checkRefusal(t *testing.T, rows []refusal) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d, err := urlfix.Parse(row.dsn)
			if err == nil {
				t.Fatalf("accepted as %s", d.URI())
			}
			var e *urlfix.Error
			if !errors.As(err, &e) {
				t.Fatalf("%T is no *Error", err)
			}
			if e.Code != row.code || row.part != "" && e.Part != row.part {
				t.Errorf("got %s of %s, want %s of %s: %v", e.Code, e.Part, row.code, row.part, err)
			}
			if e.Reason == "" || e.Hint == "" || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("no reason, no hint or more than one line: %q", err)
			}
			if e.Pos < -1 || e.Pos > len(row.dsn) {
				t.Errorf("position %d is outside the string", e.Pos)
			}
		})
	}
}

func code(err error) urlfix.Code {
	var e *urlfix.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

func TestAStringWithBracketsInThePasswordIsRead(t *testing.T) {
	const want = "postgres://lwe-admin:y5268%5B695t-13htgq244t5thj%5B8q9grq@postgres:5432/ai_workflow_engine?" +
		"sslmode=require"
	const rest = "lwe-admin:y5268[695t-13htgq244t5thj[8q9grq@postgres:5432/ai_workflow_engine?sslmode=require"
	checkMeaning(t, []means{
		{"the string with SQLAlchemy's driver", "postgresql+psycopg2://" + rest, want},
		{"the string as a libpq URI", "postgresql://" + rest, want},
		{"the string with the short scheme", "postgres://" + rest, want},
	})
}

func TestStringsAreRefusedByName(t *testing.T) {
	checkRefusal(t, []refusal{
		{"an unknown driver of SQLAlchemy", "postgresql+odd://u:secret12@h/db", urlfix.CodeUnsupported, "scheme"},
		{"an unknown scheme", "odd://u:secret12@h/db", urlfix.CodeUnsupported, "scheme"},
		{"MySQL", "mysql://u:secret12@h/db", urlfix.CodeOtherDatabase, "scheme"},
		{"MySQL with a driver", "mysql+pymysql://u:secret12@h/db", urlfix.CodeOtherDatabase, "scheme"},
		{"another JDBC driver", "jdbc:mysql://h/db", urlfix.CodeOtherDatabase, "scheme"},
		{"SQLite", "sqlite:file.db", urlfix.CodeOtherDatabase, "scheme"},
		{"MongoDB", "mongodb+srv://u:secret12@h/db", urlfix.CodeOtherDatabase, "scheme"},
		{"a web address", "https://u:secret12@h/db", urlfix.CodeOtherDatabase, "scheme"},
		{"MySQL's form for Go", "u:secret12@tcp(h:3306)/db?parseTime=true", urlfix.CodeUnknownKey, "parameter"},
		{"one slash", "postgresql:/u:secret12@h/db", urlfix.CodeSyntax, "scheme"},
		{"no slash", "postgres:u:secret12@h/db?sslmode=require", urlfix.CodeSyntax, "scheme"},
		{"neither URI nor pairs", "u:secret12@h/db", urlfix.CodeSyntax, "string"},
		{"one word", "hello", urlfix.CodeSyntax, "string"},
	})
}

func TestTextThatNoDialectAllowsIsRefused(t *testing.T) {
	checkRefusal(t, []refusal{
		{"a NUL", "postgres://u:sec\x00ret@h/db", urlfix.CodeControlCharacter, "string"},
		{"a newline at the end", "postgres://u:secret12@h/db\n", urlfix.CodeControlCharacter, "string"},
		{"a newline inside a URI", "postgres://h/db?user=u\n&port=1", urlfix.CodeControlCharacter, "string"},
		{"a tab inside quotes", "host=h password='a\tb'", urlfix.CodeControlCharacter, "string"},
		{"a tab after a backslash", "host=h password=a\\\tuser=u", urlfix.CodeControlCharacter, "string"},
		{"a tab inside a value of Npgsql", "Host=h;Password=a\tb", urlfix.CodeControlCharacter, "string"},
		{"a newline inside quotes of Npgsql", "Host=h;Password=\"a\nb\"", urlfix.CodeControlCharacter, "string"},
		{"invalid UTF-8", "postgres://u:sec\xe9ret@h/db", urlfix.CodeValue, "string"},
		{"double quotes around", `"postgres://u:secret12@h/db"`, urlfix.CodeSyntax, "string"},
		{"single quotes around", `'postgres://u:secret12@h/db'`, urlfix.CodeSyntax, "string"},
		{"a blank before the scheme", " postgres://u:secret12@h/db", urlfix.CodeSyntax, "string"},
		{"a blank at the end", "postgres://u:secret12@h/db ", urlfix.CodeSyntax, "string"},
		{"more than 1 MiB", "postgres://u:" + strings.Repeat("x", urlfix.MaxLength) + "@h/db", urlfix.CodeTooLong, "string"},
	})
	t.Run("a newline at the end gets its own hint", func(t *testing.T) {
		_, err := urlfix.Parse("postgres://h\r\n")
		if err == nil || !strings.Contains(err.Error(), "ends with a newline (at byte 12); trim") {
			t.Error(err)
		}
	})
}

func TestTheEmptyStringIsTheEnvironment(t *testing.T) {
	d := mustParse(t, "")
	if d.Hosts != nil || d.User != "" || d.Database != "" || d.Password.IsSet() || d.Params != nil {
		t.Errorf("%v is not empty", d)
	}
	checkMeaning(t, []means{
		{"nothing", "", "postgres:///"},
		{"only the scheme", "postgres://", "postgres:///"},
		{"blanks", "  ", "postgres:///"},
	})
}

func TestALongHostileStringIsReadOnce(t *testing.T) {
	// Each candidate for the end of the password is looked at, so that quadratic work would be seen here: 64 KiB of
	// it takes minutes.
	for _, filler := range []string{"@", "%", "@%", "@%41", "@h,", "@[", "@[::", ",", ",@", "/@", "?@", "a=b&", "@h:1/",
		"&", "%41@x."} {
		for _, scheme := range []string{"postgres://", "postgresql+psycopg2://", "host="} {
			for _, tail := range []string{"", "@h/db", "/"} {
				n := (urlfix.MaxLength - len(scheme) - len(tail)) / len(filler)
				_, _ = urlfix.Parse(scheme + strings.Repeat(filler, n) + tail)
			}
		}
	}
}

func TestEmptyKeywords(t *testing.T) {
	for _, c := range []struct{ name, dsn, want string }{
		{"keywords", "host=h user='' password='' dbname='' sslrootcert='' sslpassword=''",
			"user password dbname sslrootcert sslpassword"},
		{"the parameters of a URI", "postgres://h/?user=&dbname=&sslcrl=", "user dbname sslcrl"},
		{"the same keyword twice", "host=h user='' user=''", "user"},
		{"nothing where a URI has empty parts", "postgres://:@h/", ""},
		{"nothing of another tool", "jdbc:postgresql://h/db?user=&password=", ""},
	} {
		t.Run("a DSN lists as empty: "+c.name, func(t *testing.T) {
			d := mustParse(t, c.dsn)
			if got := strings.Join(d.Empty, " "); got != c.want {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestWarningsAndChanges(t *testing.T) {
	for _, c := range []struct{ name, dsn, part string }{
		{"a placeholder as password", "postgres://u:${DB_PASS}@h/db", "user or password"},
		{"a vendor's placeholder as password", "postgres://u:[YOUR-PASSWORD]@h/db", "user or password"},
		{"a template's placeholder as user", "postgres://{{user}}:p@h/db", "user or password"},
		{"a path as database", "postgres://u:p@//run/postgresql/db", "database"},
		{"a parameter twice", "postgres://h/db?connect_timeout=5&connect_timeout=6", "connect_timeout"},
		{"an empty element in the list of hosts", "postgres://h,/db", "host"},
		{"an empty password", "host=h password=''", "password"},
		{"an empty user, of another tool", "jdbc:postgresql://h/db?user=", "user"},
		{"a host that is replaced", "postgresql+psycopg2://h1/db?host=h2", "host"},
		{"a setting that is dropped", "postgresql+asyncpg://h/db?statement_cache_size=5", "statement_cache_size"},
	} {
		t.Run(c.name+" causes a warning", func(t *testing.T) {
			checkNote(t, c.dsn, c.part, func(d *urlfix.DSN) []urlfix.Note { return d.Warnings })
		})
	}
	for _, c := range []struct{ name, dsn, part string }{
		{"a raw password", "postgres://u:p@ss@h/db", "password"},
		{"a driver", "postgresql+psycopg2://h/db", "scheme"},
		{"a keyword without effect", "postgres://h/db?sslcompression=0", "sslcompression"},
		{"ssl", "postgres://h/db?ssl=true", "ssl"},
		{"a fallback", "postgres://h/db?fallback_application_name=x", "fallback_application_name"},
	} {
		t.Run(c.name+" is reported as changed", func(t *testing.T) {
			checkNote(t, c.dsn, c.part, func(d *urlfix.DSN) []urlfix.Note { return d.Changes })
		})
	}
	t.Run("a canonical URI is reported as it is", func(t *testing.T) {
		d, err := urlfix.Parse("postgres://u:p@h:5432/db?sslmode=require")
		if err != nil || d.Changes != nil || d.Warnings != nil {
			t.Errorf("%v: %v, %v", err, d.Changes, d.Warnings)
		}
	})
}

func checkNote(t *testing.T, dsn, part string, of func(*urlfix.DSN) []urlfix.Note) {
	t.Helper()
	d := mustParse(t, dsn)
	notes := of(d)
	if len(notes) != 1 || notes[0].Part != part || notes[0].Text == "" {
		t.Errorf("notes are %v, want one on %s", notes, part)
	}
}
