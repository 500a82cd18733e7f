package session

import (
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Option wires something into a DB.
type Option func(*options)

type options struct {
	linger      time.Duration
	patience    time.Duration
	repeatLimit int
	deadlines   bool
	commitCheck time.Duration
	logger      *slog.Logger
	tracers     trace.TracerProvider
	meters      metric.MeterProvider
}

func newOptions(opts []Option) options {
	o := options{linger: defaultLinger, patience: defaultPatience, repeatLimit: defaultRepeatLimit}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

const (
	defaultLinger      = 5 * time.Millisecond
	defaultPatience    = 5 * time.Second
	defaultRepeatLimit = 10
)

// WithLinger sets for how long a session keeps its connection after a statement for the next one, 5 ms by default. While
// somebody waits for a connection it is not kept at all, or for half a millisecond at most where statements follow one another
// at once. With zero and below it never is.
func WithLinger(d time.Duration) Option {
	return func(o *options) { o.linger = d }
}

// WithPatience sets for how long a statement in a transaction waits for a row of QueryRowContext that was not scanned
// yet and for a nested transaction to end, before it fails with ErrBusy, and one outside of it that needs the session's
// connection for the transaction. The default is 5 s. For another statement it waits as long as its context lets it, and
// for rows of QueryContext that are open when it comes not at all.
func WithPatience(d time.Duration) Option {
	return func(o *options) { o.patience = d }
}

// WithRepeatLimit sets how often one text may run in a session before its span has an event that says so, 10 by default.
func WithRepeatLimit(n int) Option {
	return func(o *options) { o.repeatLimit = n }
}

// WithStatementTimeout lets the server end statements too when a transaction's time is up: each transaction whose context has
// a deadline begins with SET LOCAL statement_timeout, to the time that is left. It costs a round trip. The server's clock
// begins anew with each statement, so it bounds each of them and not their sum.
func WithStatementTimeout() Option {
	return func(o *options) { o.deadlines = true }
}

// WithCommitCheck lets Tx find out what became of a COMMIT whose answer was lost, by asking the server's pg_xact_status,
// on another connection, for at most d. A transaction that was committed is then none that failed, and one that was rolled
// back may run again. It costs a round trip before each COMMIT, to learn the transaction's number. It needs PostgreSQL 13,
// and the server to be the same afterwards: a replica that was promoted meanwhile may not have what the other had committed.
func WithCommitCheck(d time.Duration) Option {
	return func(o *options) { o.commitCheck = d }
}

// WithLogger sends a warning to l for whatever a session has left open. By default, and with nil, nothing is logged.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) { o.logger = l }
}

// WithTracerProvider makes the spans with p. By default, and with nil, it is OpenTelemetry's global provider.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(o *options) { o.tracers = p }
}

// WithMeterProvider makes the metrics with p, by default and with nil the global provider.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(o *options) { o.meters = p }
}
