package telemetry

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/pgsafe/pgsafe/internal/failure"
)

// The attributes of a dial that the pool makes.
const (
	dialAttemptKey = attribute.Key("pgsafe.connect.attempt")
	dialReasonKey  = attribute.Key("pgsafe.connect.reason")
)

// dialing is a dial of the pool.
type dialing struct {
	attempt int
	reason  string
	started time.Time
}

type dialingKey struct{}

// Dialing notes why the pool makes a connection, for the span of the dial. attempt counts from 1
// since the last dial that succeeded.
func (t *Tracer) Dialing(ctx context.Context, attempt int, reason string) context.Context {
	if t == nil {
		return ctx
	}
	return context.WithValue(ctx, dialingKey{}, &dialing{attempt, reason, time.Now()})
}

// attributes returns the attributes of the dial's span, none if it is not the pool's.
func (d *dialing) attributes() []attribute.KeyValue {
	if d == nil {
		return nil
	}
	return []attribute.KeyValue{dialAttemptKey.Int(d.attempt), dialReasonKey.String(d.reason)}
}

func dialingOf(ctx context.Context) *dialing {
	d, _ := ctx.Value(dialingKey{}).(*dialing)
	return d
}

// DialFailed counts a dial that failed outside of pgx's connect, which TraceConnectEnd counts: in
// the application's functions, or in what pgsafe asks of a new connection.
func (t *Tracer) DialFailed(ctx context.Context, err error) {
	if _, counted := errors.AsType[*pgconn.ConnectError](err); t == nil || counted {
		return
	}
	started := time.Now()
	if d := dialingOf(ctx); d != nil {
		started = d.started
	}
	t.dialFailed(ctx, started, err)
}

// dialFailed counts and times a dial that failed. A dial that was cancelled is no failure: the pool
// did not need it any more, or its caller has gone.
func (t *Tracer) dialFailed(ctx context.Context, started time.Time, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	m, why := t.metrics, semconv.ErrorTypeKey.String(string(t.dialReason(err)))
	m.count(m.failures, why)
	set := attribute.NewSet(append(m.where[:len(m.where):len(m.where)], why)...)
	m.failureTime.Record(ctx, time.Since(started).Seconds(), metric.WithAttributeSet(set))
}

// dialReason returns why a dial failed. The server's alert about an expired certificate gets lost
// if the server closes first (be_tls_open_server, be-secure-openssl.c, and its caller).
func (t *Tracer) dialReason(err error) failure.Reason {
	expiry := t.expiry.Load()
	if expiry != nil && (failure.IsAlert(err) || errors.Is(err, syscall.ECONNRESET)) {
		if at, ok := (*expiry)(); ok && time.Now().After(at) {
			return failure.ReasonCertificateExpired
		}
	}
	return failure.DialReason(err)
}
