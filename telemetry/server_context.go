package telemetry

import (
	"context"
	"database/sql/driver"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// nameLimit is what a server takes of an application_name, in bytes (NAMEDATALEN - 1).
const nameLimit = 63

// Tagged adds tags to an application_name, as many of them as fit.
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

// Commented returns the arguments with what makes pgx put the trace context in front of the statement's text, if ctx is
// within a trace that is sampled. Each such text is new, so it is prepared without a name and kept in no cache, neither
// pgx's nor the server's.
func Commented(ctx context.Context, args []driver.NamedValue) []driver.NamedValue {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return args
	}
	commented := make([]driver.NamedValue, 0, len(args)+2)
	commented = append(commented, driver.NamedValue{Value: pgx.QueryExecModeDescribeExec}, driver.NamedValue{Value: commenter{}})
	return append(commented, args...)
}

// commenter writes the comment when the span of the statement has begun.
type commenter struct{}

var _ pgx.QueryRewriter = commenter{}

// RewriteQuery puts W3C's traceparent into a comment, in the form of sqlcommenter.
func (commenter) RewriteQuery(ctx context.Context, _ *pgx.Conn, sql string, args []any) (string, []any, error) {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsSampled() {
		return sql, args, nil
	}
	return "/*traceparent='00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-" + sc.TraceFlags().String() + "'*/ " + sql, args, nil
}
