package session_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// recorder keeps all that sessions tell.
type recorder struct {
	t      *testing.T
	spans  *tracetest.SpanRecorder
	tracer *sdktrace.TracerProvider
	reader *sdkmetric.ManualReader
	meter  *sdkmetric.MeterProvider
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{t: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	r.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	r.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	t.Cleanup(func() {
		check.OK(t, r.tracer.Shutdown(context.Background()))
		check.OK(t, r.meter.Shutdown(context.Background()))
	})
	return r
}

func (r *recorder) options() []session.Option {
	return []session.Option{session.WithTracerProvider(r.tracer), session.WithMeterProvider(r.meter)}
}

func (r *recorder) metrics() map[string]metricdata.Metrics {
	var rm metricdata.ResourceMetrics
	check.OK(r.t, r.reader.Collect(context.Background(), &rm))
	all := map[string]metricdata.Metrics{}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			all[m.Name] = m
		}
	}
	return all
}

// sum is that of all that was measured under a name.
func (r *recorder) sum(name string) int {
	total := 0
	switch data := r.metrics()[name].Data.(type) {
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			total += int(p.Sum)
		}
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			total += int(p.Value)
		}
	}
	return total
}

// events returns the attributes of each event of a name.
func (r *recorder) events(name string) []map[attribute.Key]attribute.Value {
	var all []map[attribute.Key]attribute.Value
	for _, s := range r.spans.Ended() {
		for _, e := range s.Events() {
			if e.Name != name {
				continue
			}
			attributes := map[attribute.Key]attribute.Value{}
			for _, a := range e.Attributes {
				attributes[a.Key] = a.Value
			}
			all = append(all, attributes)
		}
	}
	return all
}
