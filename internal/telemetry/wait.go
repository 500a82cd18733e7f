package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// waitEvent is on the span of a statement that waited for its connection; waitTimeKey is the time
// in seconds.
const (
	waitEvent   = "pgsafe.pool.wait"
	waitTimeKey = attribute.Key("pgsafe.pool.wait_time")
)

// minWaitEvent is the shortest wait that gets an event. Taking an idle connection takes
// microseconds.
const minWaitEvent = time.Millisecond

// Waited measures the time that a caller needed to acquire conn. The next statement on conn gets
// the event of the wait. conn is nil if err ended the wait.
func (t *Tracer) Waited(ctx context.Context, conn *pgx.Conn, waited time.Duration, err error) {
	switch {
	case t == nil:
		return
	case conn == nil:
		t.waitFailed(ctx, waited, err)
		return
	}
	t.metrics.waited(ctx, waited)
	c := t.connOf(conn)
	c.mu.Lock()
	c.waited = waited
	c.mu.Unlock()
}

// waitFailed puts the event of a wait that failed on the caller's own span, because no statement
// follows. A failed dial has a span of its own and gets no event.
func (t *Tracer) waitFailed(ctx context.Context, waited time.Duration, err error) {
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

// takeWait returns how long the connection's user waited for it, once.
func (c *conn) takeWait() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	waited := c.waited
	c.waited = 0
	return waited
}

// Used measures how long a connection was in use, from acquire to release.
func (t *Tracer) Used(d time.Duration) {
	if t != nil {
		t.metrics.used(context.Background(), d)
	}
}

// Settled ends what one user of conn left open, and forgets what is noted: a wait after which no
// statement ran, and a statement whose end pgx did not report because an argument panicked. The pool
// calls it before conn goes to the next user or is closed, when its user runs nothing on it any more.
func (t *Tracer) Settled(conn *pgx.Conn) {
	if t == nil {
		return
	}
	if c, known := knownConn(conn); known {
		c.settle()
	}
}

func (c *conn) settle() {
	c.takeWait()
	if c.underWay() {
		c.abandon()
	}
}
