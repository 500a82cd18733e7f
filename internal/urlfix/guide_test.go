package urlfix_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

var update = flag.Bool("update", false, "write docs/connection-strings.md anew")

// block is a part of the guide that is made from the tables: <!-- examples NAME --> holds strings in the first column,
// and <!-- parameters NAME --> nothing that is not made. NAME is a dialect, or "-" for strings that do not name it.
var block = regexp.MustCompile(`(?s)<!-- (examples|parameters) (\S+) -->\n.*?<!-- end -->`)

// TestTheGuideMatchesTheCode makes docs/connection-strings.md anew and compares. With -update it writes it.
func TestTheGuideMatchesTheCode(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "connection-strings.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	made := block.ReplaceAllStringFunc(string(text), func(old string) string {
		blocks++
		kind := block.FindStringSubmatch(old)
		if kind[1] == "parameters" {
			return parameters(kind[2])
		}
		return examples(t, kind[2], old)
	})
	if blocks < 20 {
		t.Errorf("only %d blocks", blocks)
	}
	if *update {
		if err := os.WriteFile(path, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !*update && made != string(text) {
		t.Errorf("%s is not what the tables say; run go test ./internal/urlfix -run Guide -update and read the difference",
			path)
	}
}

func parameters(dialect string) string {
	var b strings.Builder
	b.WriteString("<!-- parameters " + dialect + " -->\n| Parameter | Becomes |\n|---|---|\n")
	for _, r := range grouped(urlfix.Rows(dialect)) {
		b.WriteString("| `" + r.Parameter + "` | " + strings.ReplaceAll(r.Becomes, "|", "\\|") + " |\n")
	}
	return b.String() + "<!-- end -->"
}

// grouped puts parameters that are left out, or refused, for the same reason into one row.
func grouped(rows []urlfix.Row) []urlfix.Row {
	var out []urlfix.Row
	first := map[string]int{}
	for _, r := range rows {
		i, again := first[r.Becomes]
		switch together := strings.HasPrefix(r.Becomes, "left out") || strings.HasPrefix(r.Becomes, "refused"); {
		case together && again:
			out[i].Parameter += "`, `" + r.Parameter
		case together:
			first[r.Becomes] = len(out)
			fallthrough
		default:
			out = append(out, r)
		}
	}
	return out
}

// examples keeps the strings of the first column, and says anew what becomes of each.
func examples(t *testing.T, dialect, old string) string {
	var b strings.Builder
	b.WriteString("<!-- examples " + dialect + " -->\n| What you have | What pgsafe opens |\n|---|---|\n")
	name := strings.TrimPrefix(dialect, "-")
	for line := range strings.Lines(old) {
		cell, found := strings.CutPrefix(line, "| `")
		if !found {
			continue
		}
		dsn, _, closed := strings.Cut(cell, "` |")
		if !closed {
			t.Errorf("no example: %s", line)
		}
		dsn = strings.ReplaceAll(dsn, `\|`, "|")
		b.WriteString("| `" + strings.ReplaceAll(dsn, "|", `\|`) + "` | " + outcomeOf(dsn, name) + " |\n")
	}
	return b.String() + "<!-- end -->"
}

func outcomeOf(dsn, dialect string) string {
	d, err := urlfix.ParseAs(dsn, dialect)
	if err != nil {
		e := err.(*urlfix.Error)
		return "refused (" + string(e.Code) + "): " + e.Part + ": " + e.Reason
	}
	out := "`" + d.String() + "`"
	for _, list := range [][]urlfix.Param{d.Pool, d.Driver} {
		for _, p := range list {
			out += ", `" + p.Key + "=" + p.Value + "`"
		}
	}
	for _, w := range d.Warnings {
		out += "; warning: " + w.Part + ": " + w.Text
	}
	return strings.ReplaceAll(out, "|", `\|`)
}
