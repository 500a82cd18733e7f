package telemetry

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

var _ pgx.BatchTracer = (*Tracer)(nil)

// batchOperation is the conventions' name of a batch with different statements. If the statements
// are alike it is the prefix of their summary.
const batchOperation = "BATCH"

// batchTextLimit bounds the text of a batch, in bytes.
const batchTextLimit = 4 << 10

// failedEvent is on a batch's span for each failed statement; positionKey is the statement's
// position, counted from 0.
const (
	failedEvent = "pgsafe.batch.failed"
	positionKey = attribute.Key("pgsafe.batch.position")
)

// batch is a batch under way.
type batch struct {
	running
	read  int               // number of statements with a known end
	tag   pgconn.CommandTag // of the last statement that ended a transaction
	ended bool              // for pgx, which ends a batch that failed early again in Close
}

type batchKey struct{}

// TraceBatchStart begins the span of a batch. The conventions make a batch one operation.
func (t *Tracer) TraceBatchStart(ctx context.Context, pc *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, q := range data.Batch.QueuedQueries {
		t.record(pc, q.SQL)
	}
	if !t.tracesStatements() {
		return ctx
	}
	c := t.connOf(pc)
	spans := t.wantsSpan(ctx)
	if !spans && !t.metrics.measureStatements(ctx) && !c.underWay() {
		return ctx
	}
	b := &batch{running: running{statement: t.batchStatement(c, data.Batch)}}
	ctx = t.start(ctx, c, &b.running, spans)
	c.push(b.running)
	return context.WithValue(ctx, batchKey{}, b)
}

// batchStatement returns one statement that stands for all statements of a batch.
func (t *Tracer) batchStatement(c *conn, queued *pgx.Batch) *statement {
	var texts []string
	whole := &statement{}
	summary, alike := "", true
	for i, q := range queued.QueuedQueries {
		s := c.server.statements.Get(c.textOf(q.SQL))
		if len(queued.QueuedQueries) == 1 {
			return s
		}
		if i == 0 {
			summary = s.name
		}
		alike = alike && s.name == summary
		texts = append(texts, s.shown)
		if s.class >= sqltext.Begin { // the last one counts, as in a text of several statements
			whole.class, whole.mode, whole.commits = s.class, s.mode, s.commits
		}
	}
	name := batchOperation
	if alike {
		name = prefixed(batchOperation, summary)
	}
	what := append(described(name, joinTexts(texts)), semconv.DBOperationBatchSize(queued.Len()))
	whole.name, whole.summary, whole.described, whole.measured = name, name, what, c.server.summaries.Get(name)
	whole.prepareSpan(c.server)
	return whole
}

// joinTexts returns the one text if all are the same, else all texts up to the limit.
func joinTexts(texts []string) string {
	if !slices.ContainsFunc(texts, func(text string) bool { return text != texts[0] }) {
		return strings.Join(texts[:min(1, len(texts))], "")
	}
	var all strings.Builder
	for i, text := range texts {
		if i > 0 {
			all.WriteString("; ")
		}
		all.WriteString(text)
		if all.Len() > batchTextLimit {
			break
		}
	}
	return cut(all.String(), batchTextLimit)
}

// TraceBatchQuery adds an event for a failed statement of the batch.
func (t *Tracer) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	b, ok := ctx.Value(batchKey{}).(*batch)
	if !ok {
		return
	}
	position := b.read
	b.read++
	if tag := data.CommandTag.String(); tag == "COMMIT" || tag == "ROLLBACK" {
		b.tag = data.CommandTag
	}
	o := outcomeOf(ctx, data.Err)
	if b.span != nil && o.failed() {
		b.span.AddEvent(failedEvent, trace.WithAttributes(append(o.attributes(), positionKey.Int(position))...))
	}
}

// TraceBatchEnd ends the span.
func (t *Tracer) TraceBatchEnd(ctx context.Context, pc *pgx.Conn, data pgx.TraceBatchEndData) {
	b, ok := ctx.Value(batchKey{}).(*batch)
	if !ok || b.ended {
		return
	}
	b.ended = true
	c := t.connOf(pc)
	if r, ok := c.pop(); ok {
		o := c.commitOutcome(r.statement, outcomeOf(ctx, data.Err), b.tag)
		t.end(ctx, c, r, o, rowCount{})
		c.leave(r.statement, o, b.tag)
	}
}
