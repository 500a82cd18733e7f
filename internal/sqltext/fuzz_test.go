package sqltext_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// FuzzRead checks what holds for every text.
func FuzzRead(f *testing.F) {
	for _, group := range corpus {
		for _, s := range group.statements {
			f.Add(s.sql)
		}
	}
	for _, g := range gaps {
		f.Add(g.sql)
	}
	for _, e := range examples(f) {
		f.Add(e.text)
	}
	f.Add("SELECT '\xff\x00")
	f.Fuzz(func(t *testing.T, sql string) {
		got := sqltext.Read(sql)
		if len(got.Summary) > 255 || len(got.Masked) > 4096 {
			t.Fatalf("%d bytes of summary, %d of text", len(got.Summary), len(got.Masked))
		}
		if !utf8.ValidString(got.Summary) || !utf8.ValidString(got.Masked) {
			t.Fatalf("not UTF-8: %q, %q", got.Summary, got.Masked)
		}
		if !strings.HasPrefix(got.Summary, got.Operation) || (got.Summary == "") != (got.Operation == "") {
			t.Fatalf("%q does not begin with %q", got.Summary, got.Operation)
		}
		if strings.ContainsRune(got.Masked, '\'') && !strings.Contains(got.Masked, `"`) {
			t.Fatalf("%q is masked as %q", sql, got.Masked)
		}
		if strings.HasSuffix(got.Masked, " ...") {
			return // the mark would be read as part of the text
		}
		if again := sqltext.Read(got.Masked).Masked; !within(again, got.Masked) {
			t.Fatalf("%q is masked as %q, and that as %q", sql, got.Masked, again)
		}
	})
}

// within reports whether text results from deleting bytes of other.
func within(text, other string) bool {
	for _, c := range []byte(other) {
		if text != "" && text[0] == c {
			text = text[1:]
		}
	}
	return text == ""
}

// FuzzMask builds a text with secrets in every kind of literal and comment, and looks for pieces of them in what is
// shown.
func FuzzMask(f *testing.F) {
	f.Add([]byte{})
	for i := range byte(32) {
		f.Add([]byte{i, 1, i, 2, i, 3, i + 7, 4, 5, i, 6, 7, i, i, 8, 9, 10})
		f.Add([]byte{5 * i, 3 * i, 7 * i, 11 * i, i, 0, 13 * i, i, 17 * i, 19 * i, 23 * i, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		sql := (&builder{choices: choices}).build()
		got := sqltext.Read(sql)
		for _, shown := range []string{got.Masked, got.Summary, got.Operation} {
			if piece := pieceOfSecret(shown); piece != "" {
				t.Fatalf("%q is in %q, which is shown of %q", piece, shown, sql)
			}
		}
	})
}

// The secrets: no four characters in a row of them are in what a builder puts around them.
const (
	letters = "zqxjkvwz"
	digits  = "7358291640"
	bits    = "1101001110"
	hex     = "C0FFEEBAD5"
)

func pieceOfSecret(shown string) string {
	for _, secret := range []string{letters, digits, bits, hex} {
		for i := 0; i+4 <= len(secret); i++ {
			if strings.Contains(shown, secret[i:i+4]) {
				return secret[i : i+4]
			}
		}
	}
	return ""
}

// builder makes a text of what its bytes choose.
type builder struct {
	choices []byte
	out     strings.Builder
}

func (b *builder) choose(n int) int {
	if len(b.choices) == 0 {
		return 0
	}
	c := b.choices[0]
	b.choices = b.choices[1:]
	return int(c) % n
}

func (b *builder) one(of []string) string { return of[b.choose(len(of))] }

func (b *builder) build() string {
	for len(b.choices) > 0 && b.out.Len() < 3000 {
		b.out.WriteString(b.one(code))
		if b.choose(4) == 0 {
			b.out.WriteString(b.comment())
		}
		b.out.WriteString(b.literal())
	}
	b.out.WriteString(b.one(code))
	b.out.WriteString(b.unclosed())
	return b.out.String()
}

// code is what stands before a literal. Each piece separates it from the one before by more than blanks, so that none
// goes on in the next one, and none ends in what would make something else of it.
var code = []string{
	" SELECT ", ", ", ",", " FROM users WHERE a = ", " AND b IN (", ") OR c > ", "||", " || ", "::text, ", "; SET x = ",
	"; ",
	" LIMIT ", " VALUES (", "), (", " JOIN u ON a.b = ", " = ANY(ARRAY[", "], ", " SET LOCAL app.x TO ",
	";ALTER SYSTEM SET y = ",
	"/", "-", "+", "*", "@", "#", "<", "<>", "!=", "->", "->>", "#>>", "@>", "?", "?|", "~*", ":", "::", "%", "^", ",\n",
	",\r",
	"\t/ ", ` "it's" = `, ` "a""b"/`, ` "--" = `, ` "/*" = `, ` "$x$" = `, " $1 = ", " a$b$c = ", " é/", " table1/",
	" a.b@",
	" a?", " e -", " E/", " U & ", " LIKE ", " BETWEEN ", " INTERVAL ", "; COPY t FROM ", "; CREATE TABLE t AS SELECT ",
	" DO ",
	" CASE WHEN ", " COALESCE(", " a[", "]:", " WITH r AS (SELECT ", ", $2, ", "; INSERT INTO t VALUES (",
	" UNION SELECT ",
	", --'\n", ", /* ' */ ", ", -- /*\r", ", /* -- */ ", ", /* $x$ */ ", " $ , ",
}

// junk is what may stand in a literal next to the secret.
var junk = []string{"", " ", "--", "/*", "*/", "$$", "$x$", `"`, ";", "\n", "\r", ",", "''", "E''", "(", ")", "é",
	"\xff", "{", "?"}

func (b *builder) content(without ...string) string {
	text := b.one(junk) + letters + b.one(junk) + b.one([]string{digits, letters, hex})
	for _, piece := range without {
		text = strings.ReplaceAll(text, piece, "")
	}
	return text
}

func (b *builder) literal() string {
	switch b.choose(24) {
	case 0, 1:
		return "'" + b.content() + "'"
	case 2:
		return "E'" + b.content() + `\'` + b.content() + `\\'`
	case 3:
		return "e'" + b.content() + "' \n '" + letters + `\' ` + b.content() + "'"
	case 4:
		return "U&'" + b.content() + `\0061' UESCAPE '!'`
	case 5:
		return "N'" + b.content() + "'"
	case 6:
		return "B'" + bits + "'"
	case 7:
		return "X'" + hex + "'"
	case 8:
		return "'" + b.content() + "' -- it's\n '" + b.content() + "'"
	case 9:
		return "$$" + b.content("$$") + "$$"
	case 10:
		return "$x$" + b.content("$x$") + "$y$" + letters + "$x$"
	case 11:
		return "$é_1$" + b.content() + "'$é_1$"
	case 12:
		return "'" + b.content() + `\'`
	case 13:
		return `'{"` + letters + `", ` + digits + `}'`
	case 14:
		return "DATE '" + digits + "'"
	case 15:
		return digits
	case 16:
		return digits[:3] + "." + digits[3:]
	case 17:
		return "." + digits + "e-" + digits
	case 18:
		return "0x" + hex
	case 19:
		return "0b" + bits
	case 20:
		return "1_" + digits
	case 21:
		return digits + letters
	case 22:
		return digits + "E+" + digits
	default:
		return "0o" + digits
	}
}

// comment returns a comment, and a literal's worth of signs that begin none.
func (b *builder) comment() string {
	switch b.choose(5) {
	case 0:
		return " --" + b.content("\n", "\r") + b.one([]string{"\n", "\r", "\r\n"})
	case 1:
		return "/*" + b.content("/*", "*/") + "*/ "
	case 2:
		return "/* /*" + b.content("/*", "*/") + "*/ '" + letters + "' */ "
	case 3:
		return "/**//***/ "
	default:
		return " /*/ " + b.content("/*", "*/") + " /**/ " + letters + "*/ "
	}
}

// unclosed returns what may end a text.
func (b *builder) unclosed() string {
	switch b.choose(7) {
	case 0:
		return ""
	case 1:
		return "'" + b.content()
	case 2:
		return "E'" + b.content() + `\'` + letters
	case 3:
		return "$x$" + b.content("$x$") + "$"
	case 4:
		return "/* /* */" + b.content("/*", "*/")
	case 5:
		return " --" + b.content("\n", "\r")
	default:
		return `"` + b.content(`"`)
	}
}
