package urlfix_test

import (
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestAStringThatIsShownHidesWhatMayBeASecret(t *testing.T) {
	for _, c := range []struct{ name, dsn, want string }{
		{"the value of a setting with a dot", "postgres://h/db?app.jwt_token=s3cretPw9&search_path=app",
			"postgres://h/db?options=-c%20app.jwt_token%3D***%20-c%20search_path%3Dapp"},
		{"the value of such a setting in options", "host=h options='-c app.jwt_token=s3cretPw9 -c work_mem=1MB'",
			"postgres://h/?options=-c%20app.jwt_token%3D***%20-c%20work_mem%3D1MB"},
		{"an escaped blank in such a value", `postgres://h/?options=-c%20app.x%3Ds3cret%5C%20Pw9%20--app.y%3Ds3cretPw9`,
			"postgres://h/?options=-c%20app.x%3D***%20--app.y%3D***"},
		{"options and settings together", "postgres://h/?options=-capp.x%3Ds3cretPw9&app.y=s3cretPw9",
			"postgres://h/?options=-capp.x%3D***%20-c%20app.y%3D***"},
		{"an encoded colon in the user", "postgres://app%3As3cretPw9@h/db", "postgres://app%3A***@h/db"},
		{"a colon in the user of a keyword", "host=h user=app:s3cretPw9", "postgres://app%3A***@h/"},
	} {
		t.Run(c.name+" is hidden", func(t *testing.T) {
			d := mustParse(t, c.dsn)
			if d.String() != c.want {
				t.Errorf("got  %s\nwant %s", d, c.want)
			}
			if shows(everyForm(t, *d), "s3cretPw9") {
				t.Errorf("%s", everyForm(t, *d))
			}
			if !strings.Contains(d.URI(), "s3cret") {
				t.Errorf("the URI has lost it: %s", d.URI())
			}
		})
	}
}

func TestRedactReadsTheStringInItsDialect(t *testing.T) {
	for _, c := range []struct{ name, dsn, dialect, want string }{
		{"a named dialect", "postgres://h/db?sslmode=disable&password=a+s3cretPw9&user=u", "libpq-go",
			"postgres://u:***@h/db?sslmode=disable"},
		{"an at sign and an encoded slash, for node-postgres",
			"postgres://user:p@%2FsuperSecret9@db.example.com/app", "node", "postgres://user:***@db.example.com/app"},
		{"the same without a dialect", "postgres://user:p@%2FsuperSecret9@db.example.com/app", "",
			"postgres://[unparseable, 52 bytes]"},
		{"a question mark in the password, for Django", "postgres://u:p?s3cretPw9@h/db", "django",
			"postgres://u:***@h/db"},
		{"a string in the form of another dialect", "jdbc:postgresql://h/db?password=s3cretPw9", "node",
			"[unparseable, 41 bytes]"},
		{"a dialect that does not exist", "postgres://u:s3cretPw9@h/db", "nosuch",
			"postgres://[unparseable, 27 bytes]"},
	} {
		t.Run("Redact of "+c.name+" shows no secret", func(t *testing.T) {
			if got := urlfix.Redact(c.dsn, c.dialect); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzRedact holds that no reading's password is shown when the dialect is not known.
func FuzzRedact(f *testing.F) {
	for _, c := range readCases(f) {
		f.Add(c.DSN)
	}
	f.Add("postgres://u:12@h/db?x=1@s3cretPw9/db")
	f.Fuzz(func(t *testing.T, dsn string) {
		text := urlfix.Redact(dsn, "")
		plain, err := urlfix.Parse(dsn)
		if err != nil {
			return
		}
		for _, dialect := range urlfix.Dialects() {
			d, err := urlfix.ParseAs(dsn, dialect)
			if err != nil || d.Password.Reveal() == plain.Password.Reveal() {
				continue
			}
			masked := strings.ReplaceAll(text, "***", "")
			if shows(masked, d.Password.Reveal()) && !shows(plain.Password.Reveal(), d.Password.Reveal()) {
				t.Errorf("%q: %q shows the password of %s", dsn, text, dialect)
			}
		}
	})
}
