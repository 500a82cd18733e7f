package telemetry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// The conventions have no names for these.
const (
	canceledKey     = attribute.Key("pgsafe.canceled")
	affectedRowsKey = attribute.Key("pgsafe.response.affected_rows")
	unclosedKey     = attribute.Key("pgsafe.rows.unclosed")
)

// outcome is how a statement or a step ended. It has no message, because messages contain data.
type outcome struct {
	errorType string // "" for no failure
	code      string // SQLSTATE, "" for an error without one
	canceled  bool   // the caller cancelled its context
}

// outcomeOf classifies err. sql.ErrNoRows is not a failure, nor is the cancellation of the caller's
// context. The end of its deadline is a failure.
func outcomeOf(ctx context.Context, err error) outcome {
	if err == nil || errors.Is(err, sql.ErrNoRows) || errors.Is(err, pgx.ErrNoRows) {
		return outcome{}
	}
	if errors.Is(err, context.Canceled) || errors.Is(ctx.Err(), context.Canceled) && isInterrupted(err) {
		return outcome{canceled: true}
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && isInterrupted(err) {
			return outcome{errorType: timeout, code: pgErr.Code}
		}
		return outcome{errorType: pgErr.Code, code: pgErr.Code}
	}
	return outcome{errorType: errorType(err)}
}

// isInterrupted reports whether err can be the effect of a context that ended: the server cancelled
// the statement, or its connection was closed.
func isInterrupted(err error) bool {
	var pgErr *pgconn.PgError
	var netErr net.Error
	switch {
	case errors.As(err, &pgErr):
		return pgErr.Code == "57014"
	case errors.As(err, &netErr):
		return netErr.Timeout()
	}
	return pgconn.Timeout(err)
}

// timeout is the error.type of all timeouts, by the server or by the client.
const timeout = "timeout"

// errorType returns timeout, or the Go type of the innermost error. Messages would have many
// values, and contain data.
func errorType(err error) string {
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		return timeout
	}
	return fmt.Sprintf("%T", innermost(err))
}

// innermost unwraps err to the end. Of several wrapped errors it follows the last, which belongs to
// the last attempt of a dial. It stops at a *net.OpError, which wraps an error number of the
// system.
func innermost(err error) error {
	for {
		if op, ok := err.(*net.OpError); ok { //nolint:errorlint // each layer is looked at
			return op
		}
		inner := errors.Unwrap(err)
		if several, ok := err.(interface{ Unwrap() []error }); ok {
			if all := several.Unwrap(); len(all) > 0 {
				inner = all[len(all)-1]
			}
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}

func (o outcome) failed() bool { return o.errorType != "" }

// attributes returns the attributes of o, nil for a success.
func (o outcome) attributes() []attribute.KeyValue {
	if o.canceled {
		return []attribute.KeyValue{canceledKey.Bool(true)}
	}
	if !o.failed() {
		return nil
	}
	attributes := []attribute.KeyValue{semconv.ErrorTypeKey.String(o.errorType)}
	if o.code != "" {
		attributes = append(attributes, semconv.DBResponseStatusCode(o.code))
	}
	return attributes
}

// mark puts the outcome on a span.
func (o outcome) mark(span trace.Span) {
	span.SetAttributes(o.attributes()...)
	if o.failed() {
		span.SetStatus(codes.Error, "")
	}
}
