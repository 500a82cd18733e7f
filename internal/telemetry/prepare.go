package telemetry

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"
)

var _ pgx.PrepareTracer = (*Tracer)(nil)

// prepareEvent is on the span of a statement that pgx prepared for its cache. That takes one more
// round trip.
const prepareEvent = "pgsafe.prepare"

// preparing is a Prepare under way. It has no span yet, because most find the statement prepared.
type preparing struct {
	data    pgx.TracePrepareStartData
	started time.Time
}

type preparingKey struct{}

// TracePrepareStart records when a Prepare began.
func (t *Tracer) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	if !t.tracesStatements() {
		return ctx
	}
	return context.WithValue(ctx, preparingKey{}, preparing{data, time.Now()})
}

// TracePrepareEnd makes the span of the application's Prepare. A Prepare that pgx makes for a
// statement becomes an event on that statement's span. Without a round trip there is neither.
func (t *Tracer) TracePrepareEnd(ctx context.Context, pc *pgx.Conn, data pgx.TracePrepareEndData) {
	p, ok := ctx.Value(preparingKey{}).(preparing)
	if !ok || data.AlreadyPrepared {
		return
	}
	c := t.connOf(pc)
	if r, within := c.innermost(); within {
		if r.span != nil && data.Err == nil {
			r.span.AddEvent(prepareEvent)
		}
		if r.copies && data.Err != nil { // pgx does not end the trace of such a COPY (copy_from.go, run)
			t.TraceQueryEnd(ctx, pc, pgx.TraceQueryEndData{Err: data.Err})
		}
		return
	}
	if data.Err == nil {
		c.name(p.data)
	}
	if !t.wantsSpan(ctx) && !t.metrics.measureStatements(ctx) {
		return
	}
	r := running{statement: c.server.prepares.Get(p.data.SQL), started: p.started}
	before := c.takePending()
	switch r.started = before.began(p.started); {
	case before.again != nil:
		ctx = c.goOn(ctx, &r, before.again)
	case t.wantsSpan(ctx):
		ctx = t.startSpan(ctx, c, &r, trace.WithTimestamp(r.started))
	}
	if r.span != nil {
		t.explain(ctx, c, &r, before)
	}
	if o := outcomeOf(ctx, data.Err); !c.hold(ctx, r, o) {
		t.end(ctx, c, r, o, rowCount{})
	}
}

// namesLimit bounds the names of prepared statements that are remembered for one connection.
const namesLimit = 1024

// name remembers the text of a statement that the application prepares by name. Names of pgx's
// statement cache never stand for a text (pgx internal/stmtcache, StatementName).
func (c *conn) name(data pgx.TracePrepareStartData) {
	ofCache := strings.HasPrefix(data.Name, "stmtcache_")
	if ofCache || data.Name == data.SQL || data.Name == "" || len(c.prepared) >= namesLimit {
		return
	}
	if c.prepared == nil {
		c.prepared = make(map[string]string)
	}
	c.prepared[data.Name] = data.SQL
}
