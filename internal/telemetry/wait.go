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

// waitName is the name of the span of a wait for a connection, below the span of the statement that
// waited. It is also the name of the event of a pgxpool's acquire in vain, which has no statement.
const (
	waitName      = "pgsafe.pool.wait"
	waitReasonKey = attribute.Key("pgsafe.pool.wait.reason")
	waitTimeKey   = attribute.Key("pgsafe.pool.wait_time") // in seconds
)

// wait is a wait for a connection.
type wait struct {
	why            string // pool, dial, reset, check
	started, ended time.Time
}

// Acquired notes that a caller has acquired conn. since is when it began to wait, zero if it did
// not, and why says for what: the next statement on conn begins with the wait. A statement in ctx
// that runs again is the next one.
func (t *Tracer) Acquired(ctx context.Context, conn *pgx.Conn, since time.Time, why string) {
	if t == nil {
		return
	}
	if again := repeatedIn(ctx); again != nil {
		t.connOf(conn).expect(func(p *pending) { p.again = again })
	}
	if !since.IsZero() {
		w := wait{why, since, time.Now()}
		t.metrics.waited(ctx, w.ended.Sub(since))
		t.connOf(conn).expect(func(p *pending) { p.wait = w })
	}
}

// addWait adds the span of a wait below the span in ctx.
func (t *Tracer) addWait(ctx context.Context, on *server, w wait, o outcome) {
	if w.started.IsZero() {
		return
	}
	_, span := t.tracer.Start(ctx, waitName, trace.WithTimestamp(w.started),
		trace.WithAttributes(on.attributes...), trace.WithAttributes(waitReasonKey.String(w.why)))
	o.mark(span)
	span.End(trace.WithTimestamp(w.ended))
}

// Unserved ends a statement that got no connection, with err. Its text is "" if it is not known.
// dial is why no connection can be made, nil if one can.
func (t *Tracer) Unserved(ctx context.Context, text string, waited time.Duration, why string, err, dial error) {
	if t == nil {
		return
	}
	if hasTimedOut(err) {
		t.metrics.timedOut(ctx)
	}
	again := repeatedIn(ctx)
	if !t.tracesStatements() {
		return
	}
	o := outcomeOf(ctx, err)
	if dial != nil && !o.canceled {
		o = t.outcomeOfDial(context.Background(), dial)
	}
	now := time.Now()
	w := wait{why, now.Add(-waited), now}
	on := t.serverAt(t.config.endpoint())
	r := running{statement: on.statements.Get(text), started: w.started, ended: w.ended}
	switch {
	case again != nil:
		r = again.running
		r.ended = w.ended
		if r.span != nil {
			ctx = trace.ContextWithSpan(ctx, r.span)
		}
	case t.wantsSpan(ctx):
		ctx = t.begin(ctx, &r, trace.WithTimestamp(r.started))
	}
	t.metrics.statement(ctx, r, o, rowCount{})
	if r.span == nil {
		return
	}
	if waited > 0 {
		t.addWait(ctx, on, w, o)
	}
	r.span.SetAttributes(r.late...)
	o.mark(r.span)
	r.span.End(trace.WithTimestamp(r.ended))
}

// hasTimedOut reports whether a deadline ended the wait for a connection (pool.AcquireError).
func hasTimedOut(err error) bool {
	e, ok := errors.AsType[interface {
		error
		TimedOut() bool
	}](err)
	return ok && e.TimedOut()
}

// minWait is the shortest wait for a pgxpool, which does not say whether a caller has waited.
// Taking an idle connection takes microseconds.
const minWait = time.Millisecond

// acquired measures an acquire of a pgxpool that began then. A wait that failed is an event on the
// caller's own span, because the text of its statement is not known. A failed dial has a span.
func (t *Tracer) acquired(ctx context.Context, conn *pgx.Conn, started time.Time, err error) {
	waited := time.Since(started)
	if conn != nil {
		t.metrics.waited(ctx, waited)
		if waited >= minWait {
			t.connOf(conn).expect(func(p *pending) { p.wait = wait{"pool", started, started.Add(waited)} })
		}
		return
	}
	if _, failed := errors.AsType[*pgconn.ConnectError](err); failed {
		return
	}
	if errors.Is(err, context.DeadlineExceeded) {
		t.metrics.timedOut(ctx)
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		attributes := append(outcomeOf(ctx, err).attributes(), waitTimeKey.Float64(waited.Seconds()))
		span.AddEvent(waitName, trace.WithAttributes(attributes...))
	}
}

// Used measures how long a connection was in use, from acquire to release.
func (t *Tracer) Used(d time.Duration) {
	if t != nil {
		t.metrics.used(context.Background(), d)
	}
}

// Settled ends what one user of conn left open, and forgets what is noted: a wait after which no
// statement ran, and a statement whose end pgx did not report because an argument panicked. The
// pool calls it before conn goes to the next user or is closed, when its user runs nothing on it
// any more.
func (t *Tracer) Settled(conn *pgx.Conn) {
	if t == nil {
		return
	}
	if c, known := knownConn(conn); known {
		c.settle()
	}
}

func (c *conn) settle() {
	c.mu.Lock()
	settled := c.pending.isEmpty() && c.held == nil && len(c.open) == 0 && c.tx == nil
	c.mu.Unlock()
	if settled {
		return
	}
	c.forget()
	c.letGo()
	if c.underWay() {
		c.abandon()
	}
}
