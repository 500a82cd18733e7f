package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
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

// gaveUp tells of a wait in vain. There is no statement to tell it of, so the application's own span has the event. A
// connect that failed has a span of its own.
func (t *Tracer) gaveUp(ctx context.Context, waited time.Duration, err error) {
	var failed *pgconn.ConnectError
	if errors.As(err, &failed) {
		return
	}
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
	if c, known := knownConn(data.Conn); known {
		c.abandon()
	}
}

// Used measures how long a connection was in use, before it went back to the pool or was parked.
func (t *Tracer) Used(d time.Duration) {
	t.metrics.used(context.Background(), d)
}

// An event on a statement that had to wait for a connection, and how long, in seconds.
const (
	waitEvent   = "pgsafe.pool.wait"
	waitTimeKey = attribute.Key("pgsafe.pool.wait_time")
)

// waitNoticed is the shortest wait that is told. A connection that is there at once takes microseconds.
const waitNoticed = time.Millisecond

// takeWait returns how long the user of the connection waited for it, once.
func (c *conn) takeWait() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	waited := c.waited
	c.waited = 0
	return waited
}
