package backends

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// guide is the guide that describes these backends.
func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/backends.md")
	check.OK(t, err)
	return string(text)
}

// guideRow is a line of the guide's table of instruments.
var guideRow = regexp.MustCompile("(?m)^\\| `[a-z_.]+` \\| `([a-z_]+)` \\| ([a-z]+) \\|$")

// instruments are all that pgsafe measures with, as the guide has them: Prometheus' names of them, and their types.
func instruments(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, row := range guideRow.FindAllStringSubmatch(guide(t), -1) {
		all[row[1]] = row[2]
	}
	return all
}

// questions are the guide's examples in PromQL, one in each paragraph.
func questions(t *testing.T) []string {
	t.Helper()
	_, block, found := strings.Cut(guide(t), "```promql\n")
	if !found {
		t.Fatal("the guide asks Prometheus nothing")
	}
	block, _, _ = strings.Cut(block, "```")
	return strings.Split(strings.TrimSpace(block), "\n\n")
}
