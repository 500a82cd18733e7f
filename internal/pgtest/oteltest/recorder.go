// Package oteltest records the spans and measurements of one pool for tests.
package oteltest

import (
	"context"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// Recorder has all spans and measurements that its two providers make.
type Recorder struct {
	Spans  *tracetest.SpanRecorder
	Tracer *sdktrace.TracerProvider
	Meter  *sdkmetric.MeterProvider

	t      testing.TB
	reader *sdkmetric.ManualReader
}

// New returns an empty Recorder.
func New(t testing.TB) *Recorder {
	r := &Recorder{Spans: tracetest.NewSpanRecorder(), t: t, reader: sdkmetric.NewManualReader()}
	r.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.Spans))
	r.Meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	return r
}

// Within runs f below a span of the application.
func (r *Recorder) Within(name string, f func(context.Context)) {
	ctx, span := r.Tracer.Tracer("app").Start(context.Background(), name)
	defer span.End()
	f(ctx)
}
