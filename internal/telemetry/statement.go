package telemetry

import (
	"slices"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/sqltext"
	"github.com/pgsafe/pgsafe/telemetry"
)

// statement is what the Tracer derives from a text. It is made once for each text and server.
type statement struct {
	name      string
	summary   string
	shown     string // the text for db.query.text
	class     sqltext.Class
	commits   bool
	mode      []attribute.KeyValue // of the transaction that it begins
	described []attribute.KeyValue
	root      []trace.SpanStartOption // for a span without a parent
	child     []trace.SpanStartOption // for a span with a parent
	late      []attribute.KeyValue    // for the end of a span with a parent
	measured  *measured
}

// newStatement classifies a text. prefix is the operation on it, "" if the operation is to run it.
func (t *Tracer) newStatement(on *server, prefix, sql string) *statement {
	text := sqltext.Read(sql)
	if prefix != "" {
		text.Summary, text.Operation, text.Class = prefixed(prefix, text.Summary), prefix, sqltext.Other
	}
	shown := t.shown(sql, text)
	s := &statement{
		name:      spanName(text.Summary),
		summary:   text.Summary,
		shown:     shown,
		class:     text.Class,
		commits:   text.Operation == "COMMIT" || text.Operation == "END",
		described: described(text.Summary, shown),
		measured:  on.summaries.Get(text.Summary),
	}
	if s.class == sqltext.Begin {
		s.mode = modeOf(text.Masked)
	}
	s.prepareSpan(on)
	return s
}

// summaryLimit is the conventions' for db.query.summary, in bytes.
const summaryLimit = 255

// prefixed returns operation and summary, or operation alone if both together are too long.
func prefixed(operation, summary string) string {
	if whole := operation + " " + summary; summary != "" && len(whole) <= summaryLimit {
		return whole
	}
	return operation
}

// prepareSpan makes the options of the statement's spans.
func (s *statement) prepareSpan(on *server) {
	all := slices.Concat(on.attributes, s.described)
	var early []attribute.KeyValue
	for _, a := range all {
		if a.Key == semconv.DBSystemNameKey || a.Key == semconv.DBQuerySummaryKey {
			early = append(early, a)
		} else {
			s.late = append(s.late, a)
		}
	}
	s.root = []trace.SpanStartOption{clientKind, trace.WithAttributes(all...)}
	s.child = []trace.SpanStartOption{clientKind, trace.WithAttributes(early...)}
}

var clientKind = trace.WithSpanKind(trace.SpanKindClient)

// spanName returns a name that is never empty. A text without a command, such as the text of a
// ping, gets the system's name, as the conventions require.
func spanName(summary string) string {
	if summary == "" {
		return semconv.DBSystemNamePostgreSQL.Value.AsString()
	}
	return summary
}

// described returns the attributes of a statement's summary and text.
func described(summary, shown string) []attribute.KeyValue {
	var attributes []attribute.KeyValue
	if summary != "" {
		attributes = append(attributes, semconv.DBQuerySummary(summary))
	}
	if shown != "" {
		attributes = append(attributes, semconv.DBQueryText(shown))
	}
	return attributes
}

// rawLimit bounds an unmasked text, in bytes.
const rawLimit = 16 << 10

func (t *Tracer) shown(sql string, text sqltext.Text) string {
	switch {
	case t.config.QueryText == telemetry.QueryTextNone || text.Masked == "": // it may set a password
		return ""
	case t.config.QueryText == telemetry.QueryTextRaw:
		seen, _, _ := strings.Cut(sql, "\x00") // sqltext and the server read no further
		return cut(seen, rawLimit)
	}
	return text.Masked
}

// cut bounds a text and makes it valid UTF-8, which exporters require.
func cut(text string, limit int) string {
	if len(text) > limit {
		for limit > 0 && !utf8.RuneStart(text[limit]) {
			limit--
		}
		text = text[:limit]
	}
	return strings.Clone(strings.ToValidUTF8(text, "\uFFFD"))
}

// measured has the options of a summary's measurements, so that recording one allocates nothing.
type measured struct {
	attributes []attribute.KeyValue
	ok         []metric.RecordOption
}

func newMeasured(where []attribute.KeyValue, summary string) *measured {
	attributes := slices.Clone(where) // NewSet sorts in place
	if summary != "" {
		attributes = append(attributes, semconv.DBQuerySummary(strings.Clone(summary)))
	}
	return &measured{attributes, []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}}
}

// ended returns the options of a statement that failed or was cancelled.
func (m *measured) ended(o outcome) []metric.RecordOption {
	attributes := slices.Concat(m.attributes, o.measured())
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
}
