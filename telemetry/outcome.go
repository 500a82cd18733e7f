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

// Attributes of pgsafe's own, where the conventions have none.
const (
	canceledKey     = attribute.Key("pgsafe.canceled")
	affectedRowsKey = attribute.Key("pgsafe.response.affected_rows")
	unclosedKey     = attribute.Key("pgsafe.rows.unclosed")
)

// outcome is how something ended, without the words of the server or of the error, which carry data.
type outcome struct {
	errorType string // "" if it did not fail
	code      string // SQLSTATE, "" if the server said none
	canceled  bool   // the caller gave up, which is no error
}

// outcomeOf judges an error. sql.ErrNoRows is none, and neither is that the caller's context was cancelled; that it
// ran out of time is.
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

// isInterrupted recognises what a statement ends with when its context does: the server was asked to cancel it, or
// the connection was closed under it.
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

// timeout is the error.type of what ran out of time, whoever ended it.
const timeout = "timeout"

// errorType is timeout, or the type of the innermost error. Types are few; texts are not, and carry data.
func errorType(err error) string {
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		return timeout
	}
	return fmt.Sprintf("%T", innermost(err))
}

// innermost follows what an error wraps; of several the last, which is the last attempt of a connect. What is in a
// *net.OpError is a number of the system's.
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

// attributes tell what kind of error it is. There are none without one.
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
