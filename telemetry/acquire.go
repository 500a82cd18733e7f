package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
)

var (
	_ pgxpool.AcquireTracer = (*Tracer)(nil)
	_ pgxpool.ReleaseTracer = (*Tracer)(nil)
)

type acquiringKey struct{}

// TraceAcquireStart notes when somebody asked the pool for a connection.
func (t *Tracer) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	return context.WithValue(ctx, acquiringKey{}, time.Now())
}

// TraceAcquireEnd measures how long it took, and keeps it for the statement that runs next on the connection.
func (t *Tracer) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	since, ok := ctx.Value(acquiringKey{}).(time.Time)
	if !ok {
		return
	}
	waited := time.Since(since)
	if data.Conn == nil {
		t.gaveUp(ctx, waited, data.Err)
		return
	}
	t.metrics.waited(ctx, waited)
	c := t.connOf(data.Conn)
	c.mu.Lock()
	c.waited = waited
	c.mu.Unlock()
}

// gaveUp tells of a wait in vain. There is no statement to tell it of, so the application's own span has the event.
func (t *Tracer) gaveUp(ctx context.Context, waited time.Duration, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		t.metrics.timedOut(ctx)
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		attributes := append(outcomeOf(ctx, err).attributes(), waitTimeKey.Float64(waited.Seconds()))
		span.AddEvent(waitEvent, trace.WithAttributes(attributes...))
	}
}

// TraceRelease is called when a connection goes back to the pool. What is open on it then was forgotten: the pool
// closes such a connection.
func (t *Tracer) TraceRelease(_ *pgxpool.Pool, data pgxpool.TraceReleaseData) {
	if c, known := data.Conn.PgConn().CustomData()[customDataKey].(*conn); known {
		c.abandon()
	}
}

// Used measures how long a connection was in use, before it went back to the pool or was parked.
func (t *Tracer) Used(d time.Duration) {
	t.metrics.used(context.Background(), d)
}
