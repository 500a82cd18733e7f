package bench_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// sdk is one of the states that an application's telemetry is in.
type sdk struct {
	label     string
	ctx       context.Context // of the request that the statements belong to
	providers *providers      // nil for no SDK
}

type providers struct {
	tracer *sdktrace.TracerProvider
	meter  *sdkmetric.MeterProvider
}

// sdks are all the states. The providers reach the drivers by their options: once one is set globally, the placeholder
// that is there without an SDK passes everything on to it, and "none" could not be measured again.
func sdks(tb testing.TB) []sdk {
	// A context that can end makes database/sql start a goroutine for each query, whatever the driver.
	none := sdk{label: "none", ctx: context.WithoutCancel(tb.Context())}
	return []sdk{
		none,
		withSDK(tb, none.ctx, "unsampled", sdktrace.NeverSample()),
		withSDK(tb, none.ctx, "sampled", sdktrace.AlwaysSample()),
	}
}

// withSDK has metrics on, and spans that go through a batch processor into nothing. root decides about the request's span.
func withSDK(tb testing.TB, ctx context.Context, label string, root sdktrace.Sampler) sdk {
	p := &providers{
		tracer: sdktrace.NewTracerProvider(
			sdktrace.WithSampler(sdktrace.ParentBased(root)),
			sdktrace.WithBatcher(tracetest.NewNoopExporter())),
		meter: sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
	}
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
