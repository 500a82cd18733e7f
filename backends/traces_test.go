//go:build backends

package backends

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// span is one as Jaeger's query API gives it, with those that it caused.
type span struct {
	ID         string `json:"spanID"`
	Name       string `json:"operationName"`
	Start      int64  `json:"startTime"` // in microseconds
	References []struct {
		Type string `json:"refType"`
		ID   string `json:"spanID"`
	}
	Tags   []tag
	Events []struct{ Fields []tag } `json:"logs"`

	children []*span
}

type tag struct {
	Key   string
	Value any
}

// traces returns the roots of the traces that Jaeger has of the service, in order of time, and the whole answer. It
// waits until there are as many traces as in wanted, and as many spans in them.
func (b *backend) traces(t *testing.T, wanted ...string) (roots []*span, raw string) {
	t.Helper()
	spans := 0
	for _, tree := range wanted {
		spans += strings.Count(tree, " | ")
	}
	defer func() {
		if t.Failed() {
			t.Logf("Jaeger has %v", roots)
		}
	}()
	pgtest.Eventually(t, fmt.Sprintf("Jaeger has %d traces with %d spans in all", len(wanted), spans), func() bool {
		roots, raw = b.readTraces(t)
		n := 0
		for _, root := range roots {
			n += 1 + len(root.below())
		}
		return len(roots) == len(wanted) && n >= spans
	})
	return roots, raw
}

func (b *backend) readTraces(t *testing.T) (roots []*span, raw string) {
	t.Helper()
	var answer struct {
		Data []struct{ Spans []*span }
	}
	raw = b.ask(t, "/api/traces", url.Values{"service": {service}}, &answer)
	for _, trace := range answer.Data {
		roots = append(roots, grow(trace.Spans)...)
	}
	return inOrder(roots), raw
}

// grow puts the spans of a trace below those that caused them, and returns those that nothing did.
func grow(spans []*span) (roots []*span) {
	byID := make(map[string]*span)
	for _, s := range spans {
		byID[s.ID] = s
	}
	for _, s := range inOrder(spans) {
		if parent := byID[s.parent()]; parent != nil {
			parent.children = append(parent.children, s)
		} else {
			roots = append(roots, s)
		}
	}
	return roots
}

func inOrder(spans []*span) []*span {
	slices.SortStableFunc(spans, func(a, b *span) int { return cmp.Compare(a.Start, b.Start) })
	return spans
}

func (s *span) parent() string {
	for _, r := range s.References {
		if r.Type == "CHILD_OF" {
			return r.ID
		}
	}
	return ""
}

// below returns all spans that this one caused, however far down.
func (s *span) below() (all []*span) {
	for _, c := range s.children {
		all = append(append(all, c), c.below()...)
	}
	return all
}

// tag returns the value of a tag as text, "" if there is none.
func (s *span) tag(key string) string { return value(s.Tags, key) }

func value(tags []tag, key string) string {
	for _, t := range tags {
		if t.Key == key {
			return fmt.Sprint(t.Value)
		}
	}
	return ""
}

// String is the tree from here down, a line a span.
func (s *span) String() string {
	var text strings.Builder
	text.WriteByte('\n')
	s.write(&text, "")
	return text.String()
}

func (s *span) write(text *strings.Builder, indent string) {
	fmt.Fprintf(text, "%s%s | %s\n", indent, s.Name, strings.Join(s.marks(), ", "))
	for _, c := range s.children {
		c.write(text, indent+"  ")
	}
}

// marks are what a reader of the trace would look at.
func (s *span) marks() []string {
	marks := []string{s.tag("span.kind")}
	mark := func(format, text string) {
		if text != "" {
			marks = append(marks, fmt.Sprintf(format, text))
		}
	}
	mark("HTTP %s", s.tag("http.response.status_code"))
	mark("%s", s.events())
	mark("%s", s.tag("pgsafe.transaction.outcome"))
	mark("%q", s.tag("db.query.text"))
	mark("%s rows", s.tag("db.response.returned_rows"))
	mark("%s", s.failure())
	return marks
}

func (s *span) events() string {
	var names []string
	for _, e := range s.Events {
		names = append(names, value(e.Fields, "event"))
	}
	return strings.Join(names, " ")
}

// failure is the SQLSTATE of a span that is marked as failed in every way that it should be, or what is wrong with it.
func (s *span) failure() string {
	failed, kind, code := s.tag("error"), s.tag("error.type"), s.tag("db.response.status_code")
	switch {
	case failed == "" && kind == "" && code == "":
		return ""
	case failed == "true" && kind == code:
		return "error " + code
	}
	return fmt.Sprintf("error=%s error.type=%s db.response.status_code=%s", failed, kind, code)
}
