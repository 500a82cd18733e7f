package telemetry

import (
	"context"
	"database/sql/driver"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// nameLimit is the length of an application_name that a server accepts, in bytes (NAMEDATALEN - 1).
const nameLimit = 63

// Tagged returns name, an application_name, with as many of the tags as fit.
func Tagged(name string, tags []attribute.KeyValue) string {
	for _, tag := range tags {
		longer := strings.TrimSpace(name + " " + string(tag.Key) + "=" + tag.Value.String())
		if len(longer) > nameLimit {
			break
		}
		name = longer
	}
	return name
}

// Commented returns args with two of pgx's options in front, if ctx is within a sampled trace. They
// make pgx put the trace context in front of the statement's text. That text is new each time, so
// pgx prepares it without a name: neither pgx's cache nor the server keeps it.
func Commented(ctx context.Context, args []driver.NamedValue) []driver.NamedValue {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return args
	}
	commented := make([]driver.NamedValue, 0, len(args)+2)
	commented = append(commented,
		driver.NamedValue{Value: pgx.QueryExecModeDescribeExec}, driver.NamedValue{Value: Commenter{}})
	return append(commented, args...)
}

// Commenter writes the comment once the statement's span has begun.
type Commenter struct{}

var _ pgx.QueryRewriter = Commenter{}

// RewriteQuery puts W3C's traceparent into a comment, in sqlcommenter's format.
func (Commenter) RewriteQuery(ctx context.Context, _ *pgx.Conn, sql string, args []any) (string, []any, error) {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsSampled() {
		return sql, args, nil
	}
	parent := "00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-" + sc.TraceFlags().String()
	return "/*traceparent='" + parent + "'*/ " + sql, args, nil
}
