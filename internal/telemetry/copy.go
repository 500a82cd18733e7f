package telemetry

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

var _ pgx.CopyFromTracer = (*Tracer)(nil)

// TraceCopyFromStart begins the span of a COPY FROM STDIN. Its text is the one that pgx sends
// (copy_from.go, run), without the format.
func (t *Tracer) TraceCopyFromStart(
	ctx context.Context, pc *pgx.Conn, data pgx.TraceCopyFromStartData,
) context.Context {
	text := "COPY " + tableName(data.TableName) + " (" + columns(data.ColumnNames) + ") FROM STDIN"
	t.record(pc, text)
	c := t.connOf(pc)
	if !t.tracesStatements() || !t.wantsSpan(ctx) && !t.metrics.measureStatements(ctx) && !c.underWay() {
		return ctx
	}
	ctx = t.startQuery(ctx, pc, pgx.TraceQueryStartData{SQL: text})
	c.mu.Lock()
	c.open[len(c.open)-1].copies = true
	c.mu.Unlock()
	return ctx
}

// tableName quotes a part only if it needs quotes, so that the summary is the same as for a COPY
// written by hand.
func tableName(name pgx.Identifier) string {
	parts := make([]string, len(name))
	for i, part := range name {
		parts[i] = part
		if strings.ContainsFunc(part, func(c rune) bool { return c != '_' && (c < 'a' || c > 'z') }) {
			parts[i] = pgx.Identifier{part}.Sanitize()
		}
	}
	return strings.Join(parts, ".")
}

func columns(names []string) string {
	text := ""
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += pgx.Identifier{name}.Sanitize()
	}
	return text
}

// TraceCopyFromEnd ends the span.
func (t *Tracer) TraceCopyFromEnd(ctx context.Context, pc *pgx.Conn, data pgx.TraceCopyFromEndData) {
	t.TraceQueryEnd(ctx, pc, pgx.TraceQueryEndData(data))
}
