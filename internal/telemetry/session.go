package telemetry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/sqlstate"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// sessionName is the name of a session's span. The conventions have no name for it.
const sessionName = "SESSION"

// The attributes of a session's span and its events.
const (
	sessionStatementsKey = attribute.Key("pgsafe.session.statements")
	sessionCheckoutsKey  = attribute.Key("pgsafe.session.checkouts")
	sessionWaitTimeKey   = attribute.Key("pgsafe.session.wait_time")
	sessionDBTimeKey     = attribute.Key("pgsafe.session.database_time")
	sessionOutcomeKey    = attribute.Key("pgsafe.session.outcome")
	leftOpenKindKey      = attribute.Key("pgsafe.left_open.kind")
	attemptKey           = attribute.Key("pgsafe.transaction.attempt")
)

// Outcome is how a session ended.
type Outcome string

// The outcomes.
const (
	SessionOK      Outcome = "ok"
	SessionError   Outcome = "error"
	SessionAborted Outcome = "aborted" // by a panic or runtime.Goexit
)

// countBounds are for counts that are small in a healthy request.
var countBounds = metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

// sessionMetrics are the instruments of sessions and their transactions.
type sessionMetrics struct {
	sessionDuration, sessionWaitTime    metric.Float64Histogram
	sessionStatements, sessionCheckouts metric.Int64Histogram
	leftOpens, transactionRetries       metric.Int64Counter
}

func newSessionMetrics(meter metric.Meter) (m sessionMetrics, err error) {
	var errs [6]error
	m.sessionDuration, errs[0] = meter.Float64Histogram("pgsafe.session.duration", metric.WithUnit("s"), durationBounds,
		metric.WithDescription("Duration of sessions."))
	m.sessionWaitTime, errs[1] = meter.Float64Histogram("pgsafe.session.wait_time", metric.WithUnit("s"), durationBounds,
		metric.WithDescription("Time that a session spent waiting for connections."))
	m.sessionStatements, errs[2] = meter.Int64Histogram("pgsafe.session.statements", metric.WithUnit("{statement}"), countBounds,
		metric.WithDescription("Statements in a session."))
	m.sessionCheckouts, errs[3] = meter.Int64Histogram("pgsafe.session.checkouts", metric.WithUnit("{checkout}"), countBounds,
		metric.WithDescription("Times that a session took a connection."))
	m.leftOpens, errs[4] = meter.Int64Counter("pgsafe.session.left_open", metric.WithUnit("{object}"),
		metric.WithDescription("Rows, transactions and connections left open at the end of a session or transaction."))
	m.transactionRetries, errs[5] = meter.Int64Counter("pgsafe.transaction.retries", metric.WithUnit("{retry}"),
		metric.WithDescription("Transactions that ran again."))
	return m, errors.Join(errs[:]...)
}

// Session is the telemetry of one session. A nil *Session does nothing.
type Session struct {
	tracer  *Tracer
	span    trace.Span // nil if none is recorded
	started time.Time

	statements, checkouts atomic.Int64
	waited, busy          atomic.Int64 // nanoseconds

	mu      sync.Mutex
	limit   int            // how often a summary may run without an event, zero for any number
	repeats map[string]int // how often each summary ran
}

// maxSummaries bounds the summaries whose runs one session counts.
const maxSummaries = 256

// BeginSession begins a session, and its span in the context that it returns.
func (t *Tracer) BeginSession(ctx context.Context, repeats int) (*Session, context.Context) {
	if t == nil {
		return nil, ctx
	}
	s := &Session{tracer: t, started: time.Now(), limit: repeats}
	if !t.wantsSpan(ctx) {
		return s, ctx
	}
	ctx, span := t.tracer.Start(ctx, sessionName, trace.WithAttributes(t.poolAttributes()...))
	if span.IsRecording() {
		s.span = span
	}
	return s, ctx
}

// Measures reports whether the time of statements is wanted.
func (s *Session) Measures() bool { return s != nil && s.span != nil }

// CheckedOut counts a connection that the session has taken after a wait.
func (s *Session) CheckedOut(waited time.Duration) {
	if s == nil {
		return
	}
	s.checkouts.Add(1)
	s.waited.Add(int64(waited))
}

// Ran counts a statement that took d.
func (s *Session) Ran(text string, d time.Duration) {
	if s == nil {
		return
	}
	s.statements.Add(1)
	if s.span == nil {
		return
	}
	s.busy.Add(int64(d))
	if s.limit == 0 {
		return
	}
	if summary := summaries.Get(text); s.isRepeated(summary) {
		s.span.AddEvent("pgsafe.session.repeated", trace.WithAttributes(semconv.DBQuerySummary(summary)))
	}
}

// summaries are the summaries of texts, which a loop with literals in its texts has in common.
var summaries = sqltext.NewCache(cacheLimit, func(sql string) string { return sqltext.Read(sql).Summary })

// isRepeated counts a summary, and reports whether it has run once more than the limit just now.
func (s *Session) isRepeated(summary string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repeats == nil {
		s.repeats = make(map[string]int)
	}
	if _, known := s.repeats[summary]; !known && len(s.repeats) >= maxSummaries {
		return false
	}
	s.repeats[summary]++
	return s.repeats[summary] == s.limit+1
}

// LeftOpen reports what the session has left open. file and line are its call site, "" if that is not
// known.
func (s *Session) LeftOpen(kind, summary, file string, line int) {
	if s == nil {
		return
	}
	s.tracer.LeftOpen(kind)
	if s.span == nil {
		return
	}
	attributes := []attribute.KeyValue{leftOpenKindKey.String(kind), semconv.DBQuerySummary(summary)}
	if file != "" {
		attributes = append(attributes, semconv.CodeFilePath(file), semconv.CodeLineNumber(line))
	}
	s.span.AddEvent("pgsafe.session.left_open", trace.WithAttributes(attributes...))
}

// LeftOpen counts what was left open at the end of a session or a transaction.
func (t *Tracer) LeftOpen(kind string) {
	if t != nil {
		t.metrics.count(t.metrics.leftOpens, leftOpenKindKey.String(kind))
	}
}

// Retry reports that a transaction is about to run again after err. attempt counts the runs so far.
func (t *Tracer) Retry(ctx context.Context, attempt int, err error) {
	if t == nil {
		return
	}
	code := semconv.DBResponseStatusCode(sqlstate.Of(err))
	t.metrics.count(t.metrics.transactionRetries, code)
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.AddEvent("pgsafe.transaction.retry", trace.WithAttributes(attemptKey.Int(attempt), code))
	}
}

// End ends the span, and measures the session.
func (s *Session) End(o Outcome) {
	if s == nil {
		return
	}
	ctx := context.Background()
	if s.span != nil {
		ctx = trace.ContextWithSpan(ctx, s.span) // for exemplars
	}
	m := s.tracer.metrics
	statements, checkouts := s.statements.Load(), s.checkouts.Load()
	waited := time.Duration(s.waited.Load()).Seconds()
	m.sessionDuration.Record(ctx, time.Since(s.started).Seconds(), m.pool...)
	m.sessionWaitTime.Record(ctx, waited, m.pool...)
	m.sessionStatements.Record(ctx, statements, m.pool...)
	m.sessionCheckouts.Record(ctx, checkouts, m.pool...)
	if s.span == nil {
		return
	}
	s.span.SetAttributes(
		sessionStatementsKey.Int64(statements), sessionCheckoutsKey.Int64(checkouts), sessionWaitTimeKey.Float64(waited),
		sessionDBTimeKey.Float64(time.Duration(s.busy.Load()).Seconds()), sessionOutcomeKey.String(string(o)),
	)
	s.span.End()
}
