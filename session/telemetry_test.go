package session_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestTelemetry(t *testing.T) {
	t.Run("a session is the parent of what runs in it", func(t *testing.T) {
		t.Parallel()
		r := newRecorder(t)
		_, db := ledger(t, "pgsafe", r.options()...)
		ctx, request := r.tracer.Tracer("app").Start(t.Context(), "request")
		var inside trace.SpanContext
		check.OK(t, db.Do(ctx, func(ctx context.Context) error {
			inside = trace.SpanContextFromContext(ctx)
			return nil
		}))
		request.End()
		span := r.spans.Ended()[0]
		check.Equal(t, span.Name(), "SESSION")
		check.Equal(t, span.SpanContext().SpanID(), inside.SpanID())
		check.Equal(t, span.Parent().SpanID(), request.SpanContext().SpanID())
	})
	t.Run("a statement that is repeated is told once, without its literals", func(t *testing.T) {
		t.Parallel()
		r := newRecorder(t)
		_, db := ledger(t, "pgsafe", append(r.options(), session.WithRepeatLimit(3))...)
		check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
			for range 3 {
				exec(t, ctx, db, "INSERT INTO ledger VALUES ('few')")
			}
			for range 7 {
				exec(t, ctx, db, "SELECT entry FROM ledger WHERE entry = 'secret'")
			}
			return nil
		}))
		events := r.events("pgsafe.session.repeated")
		check.Equal(t, len(events), 1)
		check.Equal(t, fmt.Sprint(events[0]), fmt.Sprint(map[string]string{"db.query.summary": "SELECT ledger"}))
	})
	t.Run("the tables say what is emitted", func(t *testing.T) {
		t.Parallel()
		seen := everything(t)
		for section, names := range seen {
			if written := table(t, section); !slices.Equal(written, names) {
				t.Errorf("%s: the table has\n%q, and emitted are\n%q", section, written, names)
			}
		}
	})
}

// everything does all that there is a name for, and returns the names.
func everything(t *testing.T) map[string][]string {
	r := newRecorder(t)
	_, db := ledger(t, "pgsafe", append(r.options(), session.WithRepeatLimit(1))...)
	check.OK(t, db.Do(t.Context(), func(ctx context.Context) error {
		_, err := db.QueryContext(ctx, "SELECT 1")
		check.OK(t, err)
		_, err = db.QueryContext(ctx, "SELECT 1")
		check.OK(t, err)
		return db.Tx(ctx, &session.TxOptions{Retries: 1}, func(ctx context.Context) error {
			if session.Attempt(ctx) > 1 {
				return nil
			}
			_, err := db.ExecContext(ctx, "DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '40001'; END $$")
			return err
		})
	}))
	spans, attributes, events, metrics := set{}, set{}, set{}, set{}
	for _, s := range r.spans.Ended() {
		spans[s.Name()+" "+s.SpanKind().String()] = true
		for _, a := range s.Attributes() {
			attributes[string(a.Key)] = true
		}
		for _, e := range s.Events() {
			line := []string{}
			for _, a := range e.Attributes {
				line = append(line, string(a.Key))
			}
			slices.Sort(line)
			events[e.Name+" "+strings.Join(line, " ")] = true
		}
	}
	for name, m := range r.metrics() {
		kind := "counter"
		switch m.Data.(type) {
		case metricdata.Histogram[int64], metricdata.Histogram[float64]:
			kind = "histogram"
		}
		metrics[name+" "+kind+" "+m.Unit] = true
	}
	return map[string][]string{
		"Spans": spans.sorted(), "Attributes of spans": attributes.sorted(),
		"Events on spans": events.sorted(), "Metrics": metrics.sorted(),
	}
}

type set map[string]bool

func (s set) sorted() []string { return slices.Sorted(maps.Keys(s)) }

// table reads a table of doc.go: the columns that name something.
func table(t *testing.T, title string) []string {
	text, err := os.ReadFile("doc.go")
	check.OK(t, err)
	_, rest, ok := strings.Cut(string(text), "// "+title+":\n//\n")
	if !ok {
		t.Fatalf("doc.go has no table %q", title)
	}
	names := set{}
	for line := range strings.Lines(rest) {
		row, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "//\t")
		if !ok {
			break
		}
		cells := regexp.MustCompile(` {2,}`).Split(row, -1)
		switch title {
		case "Spans":
			names[cells[0]+" "+cells[1]] = true
		case "Metrics":
			names[strings.Join(cells[:3], " ")] = true
		case "Events on spans":
			_, said, _ := strings.Cut(cells[1], ": ")
			of := strings.Split(said, ", ")
			slices.Sort(of)
			names[cells[0]+" "+strings.Join(of, " ")] = true
		default:
			names[cells[0]] = true
		}
	}
	return names.sorted()
}
