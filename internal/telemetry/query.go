package telemetry

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

var _ pgx.QueryTracer = (*Tracer)(nil)

// wantsSpan reports whether a span that begins in ctx may be recorded. Below an unsampled span the
// Tracer makes no span and does not ask the sampler.
func (t *Tracer) wantsSpan(ctx context.Context) bool {
	if !t.hasSpans() {
		return false
	}
	parent := trace.SpanContextFromContext(ctx)
	return !parent.IsValid() || parent.IsSampled()
}

// hasSpans reports whether there may be spans at all.
func (t *Tracer) hasSpans() bool {
	return t.tracer != nil && (t.global == nil || otel.GetTracerProvider() != t.global)
}

// TraceQueryStart begins the span of a statement.
func (t *Tracer) TraceQueryStart(ctx context.Context, pc *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	t.record(pc, data.SQL)
	return t.startQuery(ctx, pc, data)
}

func (t *Tracer) startQuery(ctx context.Context, pc *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if !t.tracesStatements() {
		return ctx
	}
	spans := t.wantsSpan(ctx)
	c := t.connOf(pc)
	if !spans && !t.metrics.measureStatements(ctx) && !c.underWay() {
		return ctx
	}
	r := running{statement: c.server.statements.Get(c.textOf(data.SQL))}
	if ctx = t.start(ctx, c, &r, spans); r.span != nil && t.config.QueryParameters == QueryParametersShown {
		r.span.SetAttributes(parameters(data.Args)...)
	}
	c.push(r)
	return ctx
}

// start begins r, with its span if spans are wanted. What went before it belongs to it: a wait,
// round trips, a run in vain.
func (t *Tracer) start(ctx context.Context, c *conn, r *running, spans bool) context.Context {
	r.started = time.Now()
	p := c.takePending()
	if p.isEmpty() {
		if spans {
			ctx = t.startSpan(ctx, c, r)
		}
		return ctx
	}
	switch r.started = p.began(r.started); {
	case p.again != nil:
		ctx = c.goOn(ctx, r, p.again)
	case spans:
		ctx = t.startSpan(ctx, c, r, trace.WithTimestamp(r.started))
	}
	if r.span != nil {
		t.explain(ctx, c, r, p)
	}
	return ctx
}

// took returns how long a statement took that has ended.
func (r *running) took() time.Duration {
	if r.ended.IsZero() {
		return time.Since(r.started)
	}
	return r.ended.Sub(r.started)
}

// startSpan begins the span of r. A span that is not recorded is left out of r. It stays in the
// context, where it makes spans within it unsampled too.
//
// A span without a parent has all its attributes from the start, because a sampler may use them.
// Below a sampled parent it has two, and gets the others when it ends: see
// docs/decisions/0006-attributes-at-the-end.md.
func (t *Tracer) startSpan(ctx context.Context, c *conn, r *running, more ...trace.SpanStartOption) context.Context {
	ctx, link := t.enter(ctx, c, r.statement, more)
	if link.IsValid() {
		more = append(more, trace.WithLinks(trace.Link{SpanContext: link}))
	}
	return t.begin(ctx, r, more...)
}

// begin begins the span of r below the span in ctx.
func (t *Tracer) begin(ctx context.Context, r *running, more ...trace.SpanStartOption) context.Context {
	parent := trace.SpanContextFromContext(ctx)
	if parent.IsValid() && !parent.IsSampled() {
		return ctx
	}
	options := r.statement.root
	if parent.IsValid() {
		options, r.late = r.statement.child, r.statement.late
	}
	if len(more) > 0 {
		options = append(options[:len(options):len(options)], more...)
	}
	ctx, span := t.tracer.Start(ctx, r.statement.name, options...)
	if span.IsRecording() {
		r.span = span
	}
	return ctx
}

// TraceQueryEnd ends the span. For a statement with rows pgx calls it when the rows are closed.
func (t *Tracer) TraceQueryEnd(ctx context.Context, pc *pgx.Conn, data pgx.TraceQueryEndData) {
	c, known := knownConn(pc)
	if !known {
		return
	}
	r, ok := c.pop()
	if !ok {
		return
	}
	o := c.commitOutcome(r.statement, outcomeOf(ctx, data.Err), data.CommandTag)
	if c.hold(ctx, r, o) {
		return
	}
	t.end(ctx, c, r, o, rowsOf(data.CommandTag))
	c.leave(r.statement, o, data.CommandTag)
}

// end measures a statement that has ended, and ends its span.
func (t *Tracer) end(ctx context.Context, c *conn, r running, o outcome, rows rowCount) {
	t.metrics.statement(ctx, r, o, rows)
	if r.span != nil {
		c.finish(r, o, rows)
	}
}

// finish ends the span of a statement. It collects the last attributes in an array of the
// connection, which avoids an allocation.
func (c *conn) finish(r running, o outcome, rows rowCount) {
	c.ending = append(c.ending[:0], r.late...)
	if rows.key != "" {
		c.ending = append(c.ending, rows.key.Int64(rows.n))
	}
	r.span.SetAttributes(c.ending...)
	o.mark(r.span)
	if r.ended.IsZero() {
		r.span.End()
	} else {
		r.span.End(trace.WithTimestamp(r.ended))
	}
}

// textOf returns the text of a statement. sql can be the name of a prepared statement.
func (c *conn) textOf(sql string) string {
	if text, ok := c.prepared[sql]; ok {
		return text
	}
	return sql
}

// rowCount is the count in a command tag: rows returned, rows affected, or none.
type rowCount struct {
	key attribute.Key
	n   int64
}

func rowsOf(tag pgconn.CommandTag) rowCount {
	text := tag.String()
	switch command, _, _ := strings.Cut(text, " "); command {
	case "SELECT", "FETCH":
		return rowCount{semconv.DBResponseReturnedRowsKey, tag.RowsAffected()}
	case "INSERT", "UPDATE", "DELETE", "MERGE", "COPY":
		return rowCount{affectedRowsKey, tag.RowsAffected()}
	}
	return rowCount{}
}
