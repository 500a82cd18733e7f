package bench_test

import (
	"context"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// sdk is one of the states that an application's telemetry is in.
type sdk struct {
	label     string
	ctx       context.Context // of the request that the statements belong to
	providers *providers      // nil for no SDK
}

type providers struct {
	tracer   *sdktrace.TracerProvider
	meter    *sdkmetric.MeterProvider
	exported *exported
	reader   *sdkmetric.ManualReader
}

// exported counts spans and forgets them.
type exported struct{ spans atomic.Int64 }

var _ sdktrace.SpanExporter = (*exported)(nil)

func (e *exported) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.spans.Add(int64(len(spans)))
	return nil
}

func (e *exported) Shutdown(context.Context) error { return nil }

// sdks are all the states. The providers reach the drivers by their options: once one is set globally, the placeholder
// that is there without an SDK passes everything on to it, and "none" could not be measured again.
//
// No request's context can end. For one that can, database/sql starts a goroutine for each query, whatever the driver. A
// bare context.WithoutCancel is none that applications have: each look for a value in it allocates.
func sdks(tb testing.TB) []sdk {
	none := sdk{label: "none", ctx: context.Background()}
	return []sdk{none, withSDK(tb, "unsampled", sdktrace.NeverSample()), sampled(tb)}
}

func sampled(tb testing.TB) sdk { return withSDK(tb, "sampled", sdktrace.AlwaysSample()) }

// withSDK has metrics on, and spans that go through a batch processor into nothing. root decides about the request's span.
func withSDK(tb testing.TB, label string, root sdktrace.Sampler) sdk {
	ctx := context.WithoutCancel(tb.Context())
	p := &providers{exported: &exported{}, reader: sdkmetric.NewManualReader()}
	p.tracer = sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(root)), sdktrace.WithBatcher(p.exported))
	p.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(p.reader))
	request, span := p.tracer.Tracer("bench").Start(ctx, "request")
	tb.Cleanup(func() {
		span.End()
		if err := p.tracer.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
		if err := p.meter.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
	})
	return sdk{label: label, ctx: request, providers: p}
}

func (s sdk) tracer() trace.TracerProvider {
	if s.providers == nil {
		return otel.GetTracerProvider()
	}
	return s.providers.tracer
}

func (s sdk) meter() metric.MeterProvider {
	if s.providers == nil {
		return otel.GetMeterProvider()
	}
	return s.providers.meter
}

// flush waits until all spans that have ended are exported.
func (p *providers) flush(tb testing.TB) {
	tb.Helper()
	if err := p.tracer.ForceFlush(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

// made returns how many spans were exported and how many values measured until now.
func (p *providers) made(tb testing.TB) (spans int64, values uint64) {
	p.flush(tb)
	return p.exported.spans.Load(), p.measured(tb)
}

// measured returns how many values all histograms have got.
func (p *providers) measured(tb testing.TB) uint64 {
	tb.Helper()
	var all metricdata.ResourceMetrics
	if err := p.reader.Collect(tb.Context(), &all); err != nil {
		tb.Fatal(err)
	}
	var n uint64
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				n += values(data)
			case metricdata.Histogram[int64]:
				n += values(data)
			}
		}
	}
	return n
}

func values[N int64 | float64](h metricdata.Histogram[N]) uint64 {
	var n uint64
	for _, point := range h.DataPoints {
		n += point.Count
	}
	return n
}
