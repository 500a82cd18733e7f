package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
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
	since := time.Now()
	if w, ok := ctx.Value(waitingKey{}).(*waiting); ok && !w.told {
		since, w.told = w.since, true
	}
	return context.WithValue(ctx, acquiringKey{}, since)
}

type waitingKey struct{}

// waiting is a wait that began before the pool was asked.
type waiting struct {
	since time.Time
	told  bool // to whom asked the pool first with the context: it may be given to an application's function, which asks others
}

// WaitingSince returns a context to ask the pool with for somebody who waits since then.
func WaitingSince(ctx context.Context, since time.Time) context.Context {
	return context.WithValue(ctx, waitingKey{}, &waiting{since: since})
}

// TraceAcquireEnd is Waited.
func (t *Tracer) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	since, ok := ctx.Value(acquiringKey{}).(time.Time)
	if !ok {
		return
	}
	t.Waited(ctx, data.Conn, time.Since(since), data.Err)
}

// Waited measures how long it took somebody to get conn, and keeps it for the statement that runs next on it. conn is
// nil if he got none, because of err.
func (t *Tracer) Waited(ctx context.Context, conn *pgx.Conn, waited time.Duration, err error) {
	switch {
	case t == nil:
		return
	case conn == nil:
		t.gaveUp(ctx, waited, err)
		return
	}
	t.metrics.waited(ctx, waited)
	c := t.connOf(conn)
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
