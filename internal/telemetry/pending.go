package telemetry

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// The events of round trips that pgsafe makes for a statement. They are on the statement's span,
// with the time that they took; settings of a transaction are on the transaction's span.
const (
	pingEvent     = "pgsafe.ping"     // an idle connection was asked for a sign of life
	settingsEvent = "pgsafe.settings" // settings of the context were applied
	resetEvent    = "pgsafe.reset"    // the session was reset, and the statement waited for that
	repeatEvent   = "pgsafe.repeat"   // the statement had not begun, and runs again

	tripTimeKey = attribute.Key("pgsafe.duration") // in seconds
)

// pending is what belongs to the next statement on a connection.
type pending struct {
	wait  wait
	trips []trip
	again *Repeat
}

func (p *pending) isEmpty() bool {
	return p.wait.started.IsZero() && len(p.trips) == 0 && p.again == nil
}

// began returns when the call of a statement began that runs now.
func (p *pending) began(now time.Time) time.Time {
	if !p.wait.started.IsZero() {
		now = p.wait.started
	}
	for _, t := range p.trips {
		if t.event != resetEvent && t.started.Before(now) {
			now = t.started
		}
	}
	return now
}

// trip is a round trip of pgsafe's own.
type trip struct {
	event          string
	started, ended time.Time
	outcome        outcome
}

func (t trip) add(span trace.Span) {
	attributes := append(t.outcome.measured(), tripTimeKey.Float64(t.ended.Sub(t.started).Seconds()))
	span.AddEvent(t.event, trace.WithTimestamp(t.ended), trace.WithAttributes(attributes...))
}

// expect notes something for the next statement.
func (c *conn) expect(note func(*pending)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	note(&c.pending)
}

// takePending returns what is noted for the next statement, once.
func (c *conn) takePending() pending {
	c.mu.Lock()
	p, held := c.pending, c.held
	if !p.isEmpty() {
		c.pending = pending{}
	}
	c.mu.Unlock()
	if held != nil {
		c.letGo() // a statement that does not run again
	}
	return p
}

// forget drops what is noted for a statement that did not come. A reset between two users stays:
// the next user may have waited for it.
func (c *conn) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending.isEmpty() {
		return
	}
	if c.pending.again != nil {
		c.held = c.pending.again
	}
	notReset := func(t trip) bool { return t.event != resetEvent }
	c.pending = pending{trips: slices.DeleteFunc(c.pending.trips, notReset)}
}

// maxTrips bounds the round trips that are noted for one statement.
const maxTrips = 8

// Pinged notes that an idle connection was asked for a sign of life, from started until now.
func (t *Tracer) Pinged(conn *pgx.Conn, started time.Time) { t.made(conn, pingEvent, started, nil) }

// Applied notes that settings were applied in a round trip of their own.
func (t *Tracer) Applied(conn *pgx.Conn, started time.Time, err error) {
	t.made(conn, settingsEvent, started, err)
}

// Reset notes that the session was reset.
func (t *Tracer) Reset(conn *pgx.Conn, started time.Time, err error) {
	t.made(conn, resetEvent, started, err)
}

func (t *Tracer) made(conn *pgx.Conn, event string, started time.Time, err error) {
	ctx := context.Background()
	if t == nil || !t.tracesStatements() || !t.hasSpans() && !t.metrics.measureStatements(ctx) {
		return
	}
	c, known := knownConn(conn)
	if !known {
		return
	}
	made := trip{event, started, time.Now(), outcomeOf(ctx, err)}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.tx != nil:
		made.add(c.tx.span)
	case len(c.pending.trips) < maxTrips:
		c.pending.trips = append(c.pending.trips, made)
	}
}

// explain adds to the span of a statement what went before it. A reset is part of it only if the
// statement waited for it.
func (t *Tracer) explain(ctx context.Context, c *conn, r *running, p pending) {
	t.addWait(ctx, c.server, p.wait, outcome{})
	for _, it := range p.trips {
		if !it.ended.Before(r.started) {
			it.add(r.span)
		}
	}
	if p.again != nil {
		r.span.AddEvent(repeatEvent, trace.WithAttributes(p.again.outcome.measured()...))
	}
}
