package sqltext_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// example is a text with its effects.
type example struct {
	text  string
	state sqltext.State
}

// examples reads the texts of testdata/effects.txt.
func examples(tb testing.TB) []example {
	tb.Helper()
	file, err := os.ReadFile("testdata/effects.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var list []example
	for line := range strings.Lines(string(file)) {
		effects, text, ok := strings.Cut(strings.TrimRight(line, "\n"), "|")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		names, _, _ := strings.Cut(effects, " ")
		e := example{text: strings.TrimPrefix(text, " ")}
		for name := range strings.SplitSeq(names, ",") {
			e.state |= stateOf(tb, name)
		}
		list = append(list, e)
	}
	return list
}

// stateOf returns the effect with a name.
func stateOf(tb testing.TB, name string) sqltext.State {
	tb.Helper()
	if name == "none" {
		return 0
	}
	for s := sqltext.State(1); s != 0; s <<= 1 {
		if slices.Contains(s.Names(), name) {
			return s
		}
	}
	tb.Fatalf("no effect has the name %q", name)
	return 0
}

func TestEffectsOfATextAreRead(t *testing.T) {
	t.Run("each text of the table has the effects that the table says", func(t *testing.T) {
		for _, e := range examples(t) {
			if got := sqltext.Read(e.text).Leaves; got != e.state {
				t.Errorf("Read(%q) has the effects %v, want %v", e.text, got.Names(), e.state.Names())
			}
			if e.state != 0 && !sqltext.MayLeave(e.text) {
				t.Errorf("MayLeave(%q) is false", e.text)
			}
		}
	})
	t.Run("a statement inside another has its usual effects", func(t *testing.T) {
		if got := sqltext.Read("EXPLAIN ANALYZE SELECT pg_advisory_lock(1)").Leaves; got != sqltext.Locks {
			t.Errorf("its effects are %v", got.Names())
		}
	})
	t.Run("a text that is not read, or may be misread, is judged by its words", func(t *testing.T) {
		for _, e := range examples(t) {
			for _, before := range []string{
				`SELECT '\'; `, "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END; ",
				"SELECT '" + strings.Repeat("x", 20<<10) + "'; ", "SELECT 1; /*" + strings.Repeat("x", 20<<10) + "*/",
			} {
				whole := before + e.text
				guessed := sqltext.GuessUnread(whole)
				if sqltext.Doubtful(whole) {
					guessed |= sqltext.Guess(whole)
				}
				if missing := e.state &^ guessed; missing != 0 {
					t.Errorf("the effects %v of %.60q... %q are missed", missing.Names(), whole, e.text)
				}
			}
		}
		for _, text := range []string{`SELECT '\d', threshold, template FROM households`, `UPDATE t SET a = '\'`,
			"SELECT 'x'; SELECT 'y'",
			`SELECT '\d' FROM t FOR UPDATE`, `INSERT INTO t VALUES ('\') ON CONFLICT DO UPDATE SET a = 1`} {
			if got := sqltext.Guess(text); got != 0 {
				t.Errorf("Guess(%q) is %v", text, got.Names())
			}
		}
		if sqltext.GuessUnread("SET a = 1") != 0 || sqltext.Doubtful("SET a = 1") {
			t.Error("a short, plain text is not taken to be read")
		}
	})
	t.Run("most texts are known to have no effects without being read", func(t *testing.T) {
		for _, text := range []string{"SELECT a FROM t OFFSET 5", "UPDATE t SET a = 1", "BEGIN", "COMMIT", "SELECT 1",
			"-- name: Add :exec\nINSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2",
			"SELECT load, call FROM domains WHERE settings = 'set'"} {
			if sqltext.MayLeave(text) {
				t.Errorf("MayLeave(%q) is true", text)
			}
		}
	})
	t.Run("each effect has a name", func(t *testing.T) {
		names := (^sqltext.State(0)).Names()
		slices.Sort(names)
		if len(slices.Compact(names)) != 11 || slices.Contains(names, "") {
			t.Errorf("the names are %q", names)
		}
	})
}

// FuzzMayLeave looks for a text with effects for which MayLeave reports false.
func FuzzMayLeave(f *testing.F) {
	for _, e := range examples(f) {
		f.Add(e.text)
		f.Add("select 1;" + e.text)
		f.Add("-- name: X :exec\n" + e.text)
		f.Add(strings.ToUpper(e.text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if left := sqltext.Read(text).Leaves; left != 0 && !sqltext.MayLeave(text) {
			t.Errorf("%q has the effects %v", text, left.Names())
		}
	})
}
