package oteltest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Ended returns the spans with this name that have ended.
func (r *Recorder) Ended(name string) []sdktrace.ReadOnlySpan {
	var found []sdktrace.ReadOnlySpan
	for _, s := range r.Spans.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	return found
}

// One returns the only span with this name that has ended. Another number fails the test.
func (r *Recorder) One(name string) sdktrace.ReadOnlySpan {
	r.t.Helper()
	found := r.Ended(name)
	if len(found) != 1 {
		r.t.Fatalf("there are %d spans %q in:\n%s", len(found), name, r.Tree())
	}
	return found[0]
}

// Attribute returns the value of an attribute, and reports whether s has it.
func Attribute(s sdktrace.ReadOnlySpan, key attribute.Key) (attribute.Value, bool) {
	for _, a := range s.Attributes() {
		if a.Key == key {
			return a.Value, true
		}
	}
	return attribute.Value{}, false
}

// Text returns an attribute as text, "" if s does not have it.
func Text(s sdktrace.ReadOnlySpan, key attribute.Key) string {
	v, ok := Attribute(s, key)
	if !ok {
		return ""
	}
	return v.String()
}

// Tree writes the spans that have ended, children below their parents, in the order in which they
// began.
func (r *Recorder) Tree() string {
	spans := r.Spans.Ended()
	slices.SortStableFunc(spans, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	known := map[trace.SpanID]bool{}
	for _, s := range spans {
		known[s.SpanContext().SpanID()] = true
	}
	var out strings.Builder
	var write func(parent trace.SpanID, depth int)
	write = func(parent trace.SpanID, depth int) {
		for _, s := range spans {
			above := s.Parent().SpanID()
			if !known[above] {
				above = trace.SpanID{}
			}
			if above == parent {
				writeSpan(&out, s, strings.Repeat("    ", depth))
				write(s.SpanContext().SpanID(), depth+1)
			}
		}
	}
	write(trace.SpanID{}, 0)
	return out.String()
}

func writeSpan(out *strings.Builder, s sdktrace.ReadOnlySpan, indent string) {
	fmt.Fprintf(out, "%s%s (%s)%s\n", indent, s.Name(), s.SpanKind(), Status(s))
	for _, a := range Sorted(s.Attributes()) {
		fmt.Fprintf(out, "%s  %s=%s\n", indent, a.Key, normal(a))
	}
	for _, e := range s.Events() {
		fmt.Fprintf(out, "%s  * %s", indent, e.Name)
		for _, a := range Sorted(e.Attributes) {
			fmt.Fprintf(out, " %s=%s", a.Key, normal(a))
		}
		out.WriteString("\n")
	}
	if len(s.Links()) > 0 {
		fmt.Fprintf(out, "%s  -> linked\n", indent)
	}
}

// Status returns a span's status as text, "" if it is unset.
func Status(s sdktrace.ReadOnlySpan) string {
	if s.Status().Code == codes.Unset {
		return ""
	}
	return " " + s.Status().Code.String() + " " + s.Status().Description
}

// Sorted returns the attributes in the order of their keys.
func Sorted(attributes []attribute.KeyValue) []attribute.KeyValue {
	return slices.SortedFunc(slices.Values(attributes),
		func(a, b attribute.KeyValue) int { return cmp.Compare(a.Key, b.Key) })
}

// normal returns the value, or a constant for a value that differs between runs.
func normal(a attribute.KeyValue) string {
	switch a.Key {
	case "server.port", "network.peer.port":
		return "PORT"
	case "db.namespace":
		return "DATABASE"
	case "db.client.connection.pool.name":
		return "HOST:PORT/DATABASE"
	case "pgsafe.pool.wait_time":
		return "SECONDS"
	}
	return a.Value.String()
}
