package telemetry_test

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// recorder has all spans and measurements of one pool.
type recorder struct {
	t      testing.TB
	spans  *tracetest.SpanRecorder
	tracer *sdktrace.TracerProvider
	reader *sdkmetric.ManualReader
	meter  *sdkmetric.MeterProvider
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{t: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	r.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	r.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	return r
}

// options make a Connector tell the recorder.
func (r *recorder) options(more ...pgsafe.Option) []pgsafe.Option {
	return append([]pgsafe.Option{pgsafe.WithTracerProvider(r.tracer), pgsafe.WithMeterProvider(r.meter)}, more...)
}

// open opens a database of its own, in which there is a table people.
func (r *recorder) open(c *pgtest.Cluster, query string, more ...pgsafe.Option) *sql.DB {
	r.t.Helper()
	dsn := c.Database(r.t)
	admin, err := pgx.Connect(context.Background(), dsn)
	must(r.t, err)
	defer admin.Close(context.Background())
	_, err = admin.Exec(context.Background(), "CREATE TABLE people (id int PRIMARY KEY, name text)")
	must(r.t, err)
	db, err := pgsafe.Open(dsn+query, r.options(more...)...)
	must(r.t, err)
	r.t.Cleanup(func() { _ = db.Close() })
	return db
}

// within runs f below a span of the application's.
func (r *recorder) within(name string, f func(context.Context)) {
	ctx, span := r.tracer.Tracer("app").Start(context.Background(), name)
	defer span.End()
	f(ctx)
}

// ended returns the spans with this name that have ended.
func (r *recorder) ended(name string) []sdktrace.ReadOnlySpan {
	var found []sdktrace.ReadOnlySpan
	for _, s := range r.spans.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	return found
}

// one returns the only span with this name.
func (r *recorder) one(name string) sdktrace.ReadOnlySpan {
	r.t.Helper()
	found := r.ended(name)
	if len(found) != 1 {
		r.t.Fatalf("there are %d spans %q in:\n%s", len(found), name, r.tree())
	}
	return found[0]
}

// tree writes the spans, children below their parents, in the order in which they began.
func (r *recorder) tree() string {
	spans := r.spans.Ended()
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
	fmt.Fprintf(out, "%s%s (%s)%s\n", indent, s.Name(), s.SpanKind(), status(s))
	for _, a := range sorted(s.Attributes()) {
		fmt.Fprintf(out, "%s  %s=%s\n", indent, a.Key, normal(a))
	}
	for _, e := range s.Events() {
		fmt.Fprintf(out, "%s  * %s", indent, e.Name)
		for _, a := range sorted(e.Attributes) {
			fmt.Fprintf(out, " %s=%s", a.Key, normal(a))
		}
		out.WriteString("\n")
	}
	if len(s.Links()) > 0 {
		fmt.Fprintf(out, "%s  -> linked\n", indent)
	}
}

func status(s sdktrace.ReadOnlySpan) string {
	if s.Status().Code == codes.Unset {
		return ""
	}
	return " " + s.Status().Code.String() + " " + s.Status().Description
}

func sorted(attributes []attribute.KeyValue) []attribute.KeyValue {
	return slices.SortedFunc(slices.Values(attributes), func(a, b attribute.KeyValue) int { return cmp.Compare(a.Key, b.Key) })
}

// normal is the value, unless it differs from run to run.
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

// metrics reads all metrics.
func (r *recorder) metrics() map[string]metricdata.Metrics {
	r.t.Helper()
	var all metricdata.ResourceMetrics
	must(r.t, r.reader.Collect(context.Background(), &all))
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// gauge returns a number as it is now. where are attributes that it must have.
func (r *recorder) gauge(name string, where ...attribute.KeyValue) int64 {
	r.t.Helper()
	data, ok := r.metrics()[name].Data.(metricdata.Sum[int64])
	if !ok {
		r.t.Fatalf("%s is no sum", name)
	}
	for _, p := range data.DataPoints {
		fits := true
		for _, want := range where {
			got, _ := p.Attributes.Value(want.Key)
			fits = fits && got == want.Value
		}
		if fits {
			return p.Value
		}
	}
	return 0
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dump writes all measurements but for times, a line each.
func (r *recorder) dump() string {
	r.t.Helper()
	var lines []string
	line := func(name, unit string, set attribute.Set, value string) {
		var where []string
		for _, a := range set.ToSlice() {
			where = append(where, string(a.Key)+"="+normal(a))
		}
		lines = append(lines, fmt.Sprintf("%s %s %s {%s}\n", name, value, unit, strings.Join(where, " ")))
	}
	for name, m := range r.metrics() {
		switch data := m.Data.(type) {
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				line(name, m.Unit, p.Attributes, fmt.Sprintf("count=%d", p.Count))
			}
		case metricdata.Histogram[int64]:
			for _, p := range data.DataPoints {
				line(name, m.Unit, p.Attributes, fmt.Sprintf("count=%d sum=%d", p.Count, p.Sum))
			}
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				line(name, m.Unit, p.Attributes, fmt.Sprint(p.Value))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
