package telemetry

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"
)

var _ pgx.PrepareTracer = (*Tracer)(nil)

// prepareEvent is on the span of a statement that pgx prepared for its cache, which took a round trip more.
const prepareEvent = "pgsafe.prepare"

// preparing is a Prepare under way. It has no span yet: most find that the statement is there.
type preparing struct {
	data    pgx.TracePrepareStartData
	started time.Time
}

type preparingKey struct{}

// TracePrepareStart notes when a statement began to be prepared.
func (t *Tracer) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	if t.config.Statements != StatementsTraced {
		return ctx
	}
	return context.WithValue(ctx, preparingKey{}, preparing{data, time.Now()})
}

// TracePrepareEnd makes the span of a Prepare of the application's. One that pgx makes for a statement is an event on
// that statement's span.
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
	if strings.HasPrefix(p.data.Name, "stmtcache_") { // pgx's own, for a statement of which nothing is told
		return
	}
	if data.Err == nil {
		c.name(p.data)
	}
	if !t.wantsSpan(ctx) && !t.metrics.measureStatements(ctx) {
		return
	}
	r := running{statement: c.server.prepares.Get(strings.TrimSuffix(p.data.SQL, " ")), started: p.started}
	if t.wantsSpan(ctx) {
		t.startSpan(ctx, c, &r, trace.WithTimestamp(p.started))
	}
	t.end(ctx, c, r, outcomeOf(ctx, data.Err), rowCount{})
}

// innermost returns the statement that is under way.
func (c *conn) innermost() (running, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) == 0 {
		return running{}, false
	}
	return c.open[len(c.open)-1], true
}

// namesLimit bounds how many names of prepared statements are remembered for a connection.
const namesLimit = 1024

// name remembers the text of a statement that is run by its name.
func (c *conn) name(data pgx.TracePrepareStartData) {
	if data.Name == data.SQL || data.Name == "" || len(c.prepared) >= namesLimit {
		return
	}
	if c.prepared == nil {
		c.prepared = make(map[string]string)
	}
	c.prepared[data.Name] = data.SQL
}
