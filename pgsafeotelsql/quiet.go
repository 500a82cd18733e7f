package pgsafeotelsql

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// quietProvider makes spans that ignore RecordError, because an error's message contains data.
// otelsql calls RecordError and SetStatus together or not at all (utils.go, recordSpanError), and
// the status is wanted.
type quietProvider struct{ trace.TracerProvider }

func (p quietProvider) Tracer(name string, options ...trace.TracerOption) trace.Tracer {
	return quietTracer{p.TracerProvider.Tracer(name, options...)}
}

type quietTracer struct{ trace.Tracer }

func (t quietTracer) Start(
	ctx context.Context, name string, options ...trace.SpanStartOption,
) (context.Context, trace.Span) {
	ctx, span := t.Tracer.Start(ctx, name, options...)
	quiet := quietSpan{span}
	return trace.ContextWithSpan(ctx, quiet), quiet
}

type quietSpan struct{ trace.Span }

func (quietSpan) RecordError(error, ...trace.EventOption) {}
