package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// writer writes connection strings in one dialect.
type writer struct {
	name string
	// write puts user and password, as they are to stand there, and the port into a string.
	write func(user, password string, port int) string
	// escape is what the dialect does to a password. Escaped, every password has to work.
	escape func(password string) string
	// rewrites matches what the dialect takes for something else in a password that is not escaped. One that holds
	// it cannot be meant, as it stands, for itself.
	rewrites *regexp.Regexp
	// legal are the characters, beside letters and digits, of which a password that is not escaped may be made. One
	// that holds others may be refused.
	legal string
	// lost are characters that the dialect has no way to write.
	lost string
}

const (
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	nonASCII    = "äö日本語鍵🔑"
	// inUserinfo are what RFC 3986 lets stand for themselves in user and password (3.2.1).
	inUserinfo = "-._~!$&'()*+,;=:"
)

var (
	percentEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
)

// uri is the writer of a URI with percent-escapes.
func uri(name, scheme, params string) writer {
	return writer{
		name: name,
		write: func(user, password string, port int) string {
			return fmt.Sprintf("%s://%s:%s@127.0.0.1:%d/%s?%s", scheme, user, password, port, briefDatabase, params)
		},
		escape:   func(p string) string { return strings.ReplaceAll(url.QueryEscape(p), "+", "%20") },
		rewrites: percentEscape,
		legal:    inUserinfo,
	}
}

// permitting is w with other characters that may be raw.
func (w writer) permitting(legal string) writer {
	w.legal = legal
	return w
}

// without removes characters from a text.
func without(text, characters string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(characters, r) {
			return -1
		}
		return r
	}, text)
}

var writers = []writer{
	uri("libpq URI", "postgres", "sslmode=disable").permitting(without(punctuation, "@/%#") + nonASCII),
	{
		name: "libpq keyword/value",
		write: func(user, password string, port int) string {
			return fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s dbname=%s sslmode=disable", port, user, password, briefDatabase)
		},
		escape:   func(p string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(p) + "'" },
		rewrites: regexp.MustCompile(`^'|[\\ ]`),
		legal:    without(punctuation, ";") + nonASCII,
	},
	uri("SQLAlchemy, psycopg2", "postgresql+psycopg2", "sslmode=disable").permitting(without(punctuation, "@") + " " + nonASCII),
	uri("SQLAlchemy, asyncpg", "postgresql+asyncpg", "ssl=disable").permitting(without(punctuation, "@") + " " + nonASCII),
	{
		name: "JDBC",
		write: func(user, password string, port int) string {
			return fmt.Sprintf("jdbc:postgresql://127.0.0.1:%d/%s?user=%s&password=%s&sslmode=disable", port, briefDatabase, user, password)
		},
		escape:   url.QueryEscape,
		rewrites: regexp.MustCompile(`\+|%[0-9A-Fa-f]{2}`),
		legal:    without(punctuation, "&%") + nonASCII,
	},
	{
		name: "Npgsql",
		write: func(user, password string, port int) string {
			return fmt.Sprintf("Host=127.0.0.1;Port=%d;Database=%s;Username=%s;Password=%s;SSL Mode=Disable", port, briefDatabase, user, password)
		},
		escape:   func(p string) string { return `"` + strings.ReplaceAll(p, `"`, `""`) + `"` },
		rewrites: regexp.MustCompile(`^["'= ]|;| $`),
		legal:    punctuation + " " + nonASCII,
	},
	{
		name: "PDO",
		write: func(user, password string, port int) string {
			return fmt.Sprintf("pgsql:host=127.0.0.1;port=%d;dbname=%s;user=%s;password=%s;sslmode=disable", port, briefDatabase, user, password)
		},
		escape:   func(p string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(p) + "'" },
		rewrites: regexp.MustCompile(`^'|[\\ ;]`),
		legal:    punctuation + nonASCII,
		lost:     ";",
	},
	uri("Ecto", "ecto", "ssl=false"),
	uri("Django", "postgis", "sslmode=disable"),
	uri("golang-migrate", "pgx5", "sslmode=disable"),
	uri("Rails, by name", "postgres", "sslmode=disable&pgsafe_dialect=rails"),
	uri("node-postgres, by name", "postgres", "sslmode=disable&pgsafe_dialect=node"),
	uri("Prisma, by name", "postgres", "sslmode=disable&pgsafe_dialect=prisma"),
}

// passwords are what people and password managers make. Each character of punctuation stands at both ends, and
// between letters.
func passwords() []string {
	var all []string
	for _, c := range punctuation {
		all = append(all, string(c)+"Qz"+string(c)+"7x"+string(c))
	}
	return append(all,
		"Qz 7x", " Qz7x ", "Qz%417x", "%41%42", "100%", "pässwörd", "日本語", "🔑Qz鍵",
		punctuation, briefPassword,
		"Qz@evil.example:5432/7x", "Qz@evil.example", "Qz7x@evil.example/x?sslmode=disable#@",
		"Qz';host=evil.example;x='", `Qz";Host=evil.example;x="`, "Qz' host='evil.example", "Qz host=evil.example",
		"1234/Qz7x", "1234?Qz7x", "1234#Qz7x", "5432", "///", "@@@", ":::", "Qz,user:7x",
	)
}

// TestLogins writes each password in each dialect, and logs in. A string is either understood, and then the server
// gets the right password, or refused when it is parsed.
func TestLogins(t *testing.T) {
	t.Setenv("PGCONNECT_TIMEOUT", "60") // on a busy machine a login may take longer than the default
	cluster := pgtest.SharedTLS(t)
	admin := cluster.Admin(t)
	all := passwords()
	for i, password := range all {
		_, err := admin.Exec(t.Context(), fmt.Sprintf("create role login_%d login password '%s'", i, strings.ReplaceAll(password, "'", "''")))
		check.OK(t, err)
	}
	t.Cleanup(func() {
		for i := range all {
			_, err := admin.Exec(context.WithoutCancel(t.Context()), fmt.Sprintf("drop role login_%d", i))
			check.OK(t, err)
		}
	})
	var escaped, raw, refused atomic.Int32
	t.Run("a password is sent as it is or refused", func(t *testing.T) {
		for _, w := range writers {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				for i, password := range all {
					role := fmt.Sprintf("login_%d", i)
					switch dsn := w.write(role, w.escape(password), cluster.Port()); {
					case logIn(t, dsn, role):
						escaped.Add(1)
					case !strings.ContainsAny(password, w.lost):
						t.Errorf("the password %q, escaped, is refused: %s", password, dsn)
					}
					if w.rewrites.MatchString(password) {
						continue
					}
					switch dsn := w.write(role, password, cluster.Port()); {
					case logIn(t, dsn, role):
						raw.Add(1)
					case w.permits(password):
						t.Errorf("the password %q is refused: %s", password, dsn)
					default:
						refused.Add(1)
					}
				}
			})
		}
	})
	t.Logf("%d logins with escaped passwords, %d with raw ones, %d raw ones refused", escaped.Load(), raw.Load(), refused.Load())
	if escaped.Load() < 600 || raw.Load() < 500 {
		t.Error("too few logins for this test to mean anything")
	}
}

// permits reports whether the dialect defines what password means as it stands.
func (w writer) permits(password string) bool {
	for _, r := range password {
		alphanumeric := '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
		if !alphanumeric && !strings.ContainsRune(w.legal, r) {
			return false
		}
	}
	return true
}

// logIn reports whether dsn logs role in, or false if it is refused when parsed. All else fails the test.
func logIn(t *testing.T, dsn, role string) bool {
	t.Helper()
	db, err := sql.Open(pgsafe.DriverName, dsn)
	if refusal := (*pgsafe.DSNError)(nil); errors.As(err, &refusal) {
		return false
	}
	check.OK(t, err)
	defer db.Close()
	var user string
	if err := db.QueryRowContext(t.Context(), "select current_user").Scan(&user); err != nil {
		t.Errorf("%s: %v", dsn, err)
	} else if user != role {
		t.Errorf("%s logs in as %s", dsn, user)
	}
	return true
}
