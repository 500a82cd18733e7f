package sqltext_test

import (
	"strings"
	"testing"

	"github.com/DataDog/go-sqllexer"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// gaps lists texts that go-sqllexer alone reads differently from PostgreSQL. To the server,
// the secret is a literal or a comment.
var gaps = []struct{ name, secret, sql, masked string }{
	{"comments nest", "hunter",
		"SELECT 1 /* a /* b */ 'it''s' hunter */ FROM t", "SELECT ? FROM t"},
	{"a comment may touch a name", "hunter",
		"SELECT a FROM users/*hunter*/", "SELECT a FROM users"},
	{"a comment may touch an operator", "hunter",
		"SELECT 1 WHERE a <--hunter\n b", "SELECT ? WHERE a < b"},
	{"a carriage return ends a comment", "hunter",
		"SELECT 1 -- a\r, 'b\n hunter'", "SELECT ? , ?"},
	{"a dollar sign that opens nothing ends nowhere", "hunter",
		"SELECT $ 'a$ ', $ 'a$ hunter'", "SELECT ? ?, ? ?"},
	{"a tag of a dollar quote has no blanks", "hunter",
		"SELECT a $ b$ 'it$ b$ hunter'", "SELECT a ? b$ ?"},
	{"a string goes on in the next line by the same rules", "hunter",
		"SELECT E'a' -- b\n '\\' hunter' FROM t", "SELECT ? FROM t"},
	{"backslashes may escape in plain strings", "hunter",
		`SELECT 'it\'s hunter' || 'x'`, "SELECT ?"},
	{"backslashes may escape in national strings", "hunter",
		`SELECT N'it\'s hunter' || 'x'`, "SELECT ?"},
	{"a number may touch a division", "8315",
		"SELECT a/8315 FROM t", "SELECT a/? FROM t"},
	{"a number may touch any operator", "8315",
		"SELECT a@8315, b#8315, c?8315, d!=8315, @8315, @@8315", "SELECT a@?, b#?, c??, d!=?, @?, @@?"},
	{"binary numbers are masked", "b1101",
		"SELECT 0b1101 FROM t", "SELECT ? FROM t"},
	{"octal numbers are masked", "o1735",
		"SELECT 0o1735 FROM t", "SELECT ? FROM t"},
	{"numbers with underscores are masked", "_000_315",
		"SELECT 8_000_315, 0x1F_000_315 FROM t", "SELECT ?, ? FROM t"},
	{"numbers with letters behind them are masked", "hunter",
		"SELECT 8315hunter FROM t", "SELECT ? FROM t"},
	{"a number may touch a name by its point", "8315",
		"SELECT a.8315 FROM t", "SELECT a? FROM t"},
	{"names in quotes are closed by the same quote", "hunter",
		`SELECT a."b 'c", 'hunter' FROM t`, `SELECT a."b 'c", ? FROM t`},
}

func TestNoLiteralComesThroughGapsOfTheLexer(t *testing.T) {
	for _, g := range gaps {
		t.Run(g.name, func(t *testing.T) {
			if got := sqltext.Read(g.sql).Masked; got != g.masked {
				t.Errorf("Read(%q) masks it as %q, want %q", g.sql, got, g.masked)
			}
			if alone := maskAlone(g.sql); !strings.Contains(alone, g.secret) {
				t.Errorf("go-sqllexer has no gap here: it alone gives %q", alone)
			}
		})
	}
}

// maskAlone masks what go-sqllexer alone calls a literal or a comment.
func maskAlone(sql string) string {
	lexer := sqllexer.New(sql, sqllexer.WithDBMS(sqllexer.DBMSPostgres))
	var out strings.Builder
	for {
		switch token := lexer.Scan(); token.Type {
		case sqllexer.EOF:
			return out.String()
		case sqllexer.STRING, sqllexer.INCOMPLETE_STRING, sqllexer.NUMBER, sqllexer.DOLLAR_QUOTED_STRING,
			sqllexer.DOLLAR_QUOTED_FUNCTION, sqllexer.ERROR, sqllexer.COMMENT, sqllexer.MULTILINE_COMMENT:
			out.WriteString("?")
		default:
			out.WriteString(token.Value)
		}
	}
}
