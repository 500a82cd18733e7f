package telemetry

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// The conventions have no names for these.
const (
	canceledKey     = attribute.Key("pgsafe.canceled")
	affectedRowsKey = attribute.Key("pgsafe.response.affected_rows")
	unclosedKey     = attribute.Key("pgsafe.rows.unclosed")
	constraintKey   = attribute.Key("pgsafe.error.constraint")
	tableKey        = attribute.Key("pgsafe.error.table")
	columnKey       = attribute.Key("pgsafe.error.column")
)

// outcome is how a statement or a step ended. It has no message, because messages contain data.
type outcome struct {
	errorType string          // "" for no failure
	kind      failure.Kind    // of the failure
	server    *pgconn.PgError // what the server said, nil if it said nothing
	canceled  bool            // the caller cancelled its context
}

// timeout is the error.type of all timeouts, by the server or by the client.
const timeout = string(failure.ReasonTimeout)

// outcomeOf classifies err. sql.ErrNoRows is not a failure, nor is the cancellation of the caller's
// context. The end of its deadline is a failure.
func outcomeOf(ctx context.Context, err error) outcome {
	if err == nil || errors.Is(err, sql.ErrNoRows) || errors.Is(err, pgx.ErrNoRows) {
		return outcome{}
	}
	if errors.Is(err, context.Canceled) || errors.Is(ctx.Err(), context.Canceled) && isInterrupted(err) {
		return outcome{canceled: true}
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && isInterrupted(err) {
			return outcome{errorType: timeout, kind: failure.Timeout, server: pgErr}
		}
		return outcome{errorType: pgErr.Code, kind: failure.OfServer(pgErr), server: pgErr}
	}
	return failed(failure.ReasonOf(err), failure.Of(err))
}

// failed is the outcome of a failure without a SQLSTATE.
func failed(why failure.Reason, kind failure.Kind) outcome {
	return outcome{errorType: string(why), kind: kind}
}

// isInterrupted reports whether err can be the effect of a context that ended: the server cancelled
// the statement, or its connection was closed.
func isInterrupted(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code == sqlstate.QueryCanceled
	}
	if netErr, ok := errors.AsType[net.Error](err); ok {
		return netErr.Timeout()
	}
	return pgconn.Timeout(err)
}

func (o outcome) failed() bool { return o.errorType != "" }

// measured returns the attributes of o for measurements, nil for a success.
func (o outcome) measured() []attribute.KeyValue {
	if o.canceled {
		return []attribute.KeyValue{canceledKey.Bool(true)}
	}
	if !o.failed() {
		return nil
	}
	attributes := []attribute.KeyValue{semconv.ErrorTypeKey.String(o.errorType)}
	if o.server != nil {
		attributes = append(attributes, semconv.DBResponseStatusCode(o.server.Code))
	}
	return attributes
}

// attributes returns the attributes of o for spans, nil for a success.
func (o outcome) attributes() []attribute.KeyValue {
	attributes := o.measured()
	for _, object := range o.objects() {
		attributes = append(attributes, object.key.String(object.name))
	}
	return attributes
}

// object is a part of the schema that an error is about.
type object struct {
	key  attribute.Key
	kind string
	name string
}

// nameLimitOfErrors bounds a name that the server sends, in bytes. Its own names have at most 63,
// but a RAISE may put anything there.
const nameLimitOfErrors = 128

// objects returns what the server says that the error is about.
func (o outcome) objects() (named []object) {
	if o.server == nil {
		return nil
	}
	for _, it := range []object{
		{constraintKey, "constraint", o.server.ConstraintName}, {tableKey, "table", o.server.TableName},
		{columnKey, "column", o.server.ColumnName},
	} {
		if it.name != "" {
			it.name = cut(it.name, nameLimitOfErrors)
			named = append(named, it)
		}
	}
	return named
}

// describe returns the description of a failed span: "unique: unique_violation, constraint
// people_pkey, table people". It has no data: neither the message nor the detail of the server.
func (o outcome) describe() string {
	what := o.errorType
	if o.server != nil {
		what = cmp.Or(sqlstate.Name(o.server.Code), o.server.Code)
	}
	switch kind := o.kind.String(); {
	case o.kind == failure.Other:
	case strings.ReplaceAll(kind, " ", "_") == what:
		what = kind
	default:
		what = kind + ": " + what
	}
	for _, it := range o.objects() {
		what += ", " + it.kind + " " + it.name
	}
	return what
}

// mark puts the outcome on a span.
func (o outcome) mark(span trace.Span) {
	attributes := o.attributes()
	if attributes == nil {
		return
	}
	span.SetAttributes(attributes...)
	if o.failed() {
		span.SetStatus(codes.Error, o.describe())
	}
}
