package session

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// scopeName is the instrumentation scope.
const scopeName = "github.com/pgsafe/pgsafe/session"

// spanName is the name of a session's span. The conventions have none for it.
const spanName = "SESSION"

// The attributes of a session's span and its events. Those without the prefix are the conventions'.
const (
	statementsKey   = attribute.Key("pgsafe.session.statements")
	checkoutsKey    = attribute.Key("pgsafe.session.checkouts")
	waitTimeKey     = attribute.Key("pgsafe.session.wait_time")
	databaseTimeKey = attribute.Key("pgsafe.session.database_time")
	outcomeKey      = attribute.Key("pgsafe.session.outcome")
	leftOpenKindKey = attribute.Key("pgsafe.left_open.kind")
	attemptNumKey   = attribute.Key("pgsafe.transaction.attempt")
	statusCodeKey   = attribute.Key("db.response.status_code")
	summaryKey      = attribute.Key("db.query.summary")
	filePathKey     = attribute.Key("code.file.path")
	lineNumberKey   = attribute.Key("code.line.number")
)

// outcome is how a session ended.
type outcome string

const (
	endedOK      outcome = "ok"
	endedByError outcome = "error"
	endedAborted outcome = "aborted" // by a panic or runtime.Goexit
)

func outcomeOf(err error) outcome {
	if err != nil {
		return endedByError
	}
	return endedOK
}

// told is where a DB tells what happens.
type told struct {
	tracer      trace.Tracer
	waiting     trace.TracerProvider // the global placeholder, until an SDK takes its place; nil if there is no waiting
	logger      *slog.Logger
	repeatLimit int

	duration   metric.Float64Histogram
	waitTime   metric.Float64Histogram
	statements metric.Int64Histogram
	checkouts  metric.Int64Histogram
	leftOpens  metric.Int64Counter
	retries    metric.Int64Counter
}

// secondsBounds are the ones that the conventions give for db.client.operation.duration.
var secondsBounds = metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)

// countBounds are for what there are a few of in a request, and too many if things go wrong.
var countBounds = metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

func newTold(o options) *told {
	tracers, meters := o.tracers, o.meters
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	t := &told{tracer: tracers.Tracer(scopeName), logger: o.logger, repeatLimit: o.repeatLimit}
	if isPlaceholder(tracers) {
		t.waiting = tracers
	}
	if err := t.measure(meters.Meter(scopeName)); err != nil {
		otel.Handle(err)
	}
	return t
}

// isPlaceholder recognises what otel.GetTracerProvider returns while there is no SDK. Its spans are never recorded, but
// cost allocations (otel internal/global/trace.go). If the name of the type changes, only those come back.
func isPlaceholder(p trace.TracerProvider) bool {
	return reflect.TypeOf(p).String() == "*global.tracerProvider"
}

// wantsSpan tells whether a span that begins in ctx may be recorded. Below a span that is not sampled none is built.
func (t *told) wantsSpan(ctx context.Context) bool {
	if t.waiting != nil && otel.GetTracerProvider() == t.waiting {
		return false
	}
	parent := trace.SpanContextFromContext(ctx)
	return !parent.IsValid() || parent.IsSampled()
}

// measure makes the instruments. One that fails is a working no-op (metric.Meter).
func (t *told) measure(m metric.Meter) error {
	var errs [6]error
	t.duration, errs[0] = m.Float64Histogram("pgsafe.session.duration", metric.WithUnit("s"), secondsBounds,
		metric.WithDescription("Duration of sessions."))
	t.waitTime, errs[1] = m.Float64Histogram("pgsafe.session.wait_time", metric.WithUnit("s"), secondsBounds,
		metric.WithDescription("Time that a session spent waiting for connections."))
	t.statements, errs[2] = m.Int64Histogram("pgsafe.session.statements", metric.WithUnit("{statement}"), countBounds,
		metric.WithDescription("Statements in a session."))
	t.checkouts, errs[3] = m.Int64Histogram("pgsafe.session.checkouts", metric.WithUnit("{checkout}"), countBounds,
		metric.WithDescription("Times that a session took a connection."))
	t.leftOpens, errs[4] = m.Int64Counter("pgsafe.session.left_open", metric.WithUnit("{object}"),
		metric.WithDescription("Rows and transactions that were left open at the end of a session."))
	t.retries, errs[5] = m.Int64Counter("pgsafe.transaction.retries", metric.WithUnit("{retry}"),
		metric.WithDescription("Transactions that ran again."))
	return errors.Join(errs[:]...)
}

// tally is what is known of one session.
type tally struct {
	span    trace.Span
	spans   bool          // the span is recorded
	started time.Duration // since start

	statements, checkouts atomic.Int64
	waited, busy          atomic.Int64 // nanoseconds

	mu      sync.Mutex
	repeats map[string]int // how often each text ran; nil if nobody wants to know
}

// maxTexts bounds the texts of which a session counts repetitions.
const maxTexts = 256

// begin begins a session's span, in the context that is returned.
func (t *told) begin(ctx context.Context, tally *tally) context.Context {
	tally.started = time.Since(start)
	if t.wantsSpan(ctx) {
		ctx, tally.span = t.tracer.Start(ctx, spanName)
		tally.spans = tally.span.IsRecording()
	}
	return ctx
}

// end ends the span, and measures the session.
func (t *told) end(tally *tally, o outcome) {
	ctx := context.Background()
	if tally.spans {
		ctx = trace.ContextWithSpan(ctx, tally.span) // for exemplars
	}
	statements, checkouts := tally.statements.Load(), tally.checkouts.Load()
	waited := time.Duration(tally.waited.Load()).Seconds()
	t.duration.Record(ctx, (time.Since(start) - tally.started).Seconds())
	t.waitTime.Record(ctx, waited)
	t.statements.Record(ctx, statements)
	t.checkouts.Record(ctx, checkouts)
	if tally.spans {
		tally.span.SetAttributes(
			statementsKey.Int64(statements), checkoutsKey.Int64(checkouts), waitTimeKey.Float64(waited),
			databaseTimeKey.Float64(time.Duration(tally.busy.Load()).Seconds()), outcomeKey.String(string(o)),
		)
		tally.span.End()
	}
}

// timed is something that takes time. done ends it. The zero value is something whose time nobody wants to know.
type timed struct {
	total   *atomic.Int64
	started time.Time
}

func (t timed) done() {
	if t.total != nil {
		t.total.Add(int64(time.Since(t.started)))
	}
}

// waiting begins a wait for a connection.
func (t *tally) waiting() timed { return timed{&t.waited, time.Now()} }

// statement begins a statement.
func (t *tally) statement(db *DB, text string) timed {
	t.statements.Add(1)
	if !t.spans {
		return timed{}
	}
	if t.repeated(text, db.told.repeatLimit) {
		t.span.AddEvent("pgsafe.session.repeated", trace.WithAttributes(summaryKey.String(db.summary(text))))
	}
	return timed{&t.busy, time.Now()}
}

// repeated counts a text, and tells whether it ran once more than limit just now.
func (t *tally) repeated(text string, limit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.repeats == nil {
		t.repeats = make(map[string]int)
	}
	if _, known := t.repeats[text]; !known && len(t.repeats) >= maxTexts {
		return false
	}
	t.repeats[text]++
	return t.repeats[text] == limit+1
}

// summary is how a text is called. Without pgsafe's driver it is its first word, if that is one.
func (db *DB) summary(text string) string {
	if db.pool != nil {
		return db.pool.Summary(text)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	for _, c := range first {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return ""
		}
	}
	return strings.ToUpper(first)
}

// leftOpen reports something that was left open.
func (t *told) leftOpen(tally *tally, o *opening) {
	kind := leftOpenKindKey.String(o.kind)
	t.leftOpens.Add(o.watcher, 1, metric.WithAttributes(kind))
	frame := o.from.frame()
	if tally.spans {
		tally.span.AddEvent("pgsafe.session.left_open",
			trace.WithAttributes(kind, filePathKey.String(frame.File), lineNumberKey.Int(frame.Line)))
	}
	if t.logger != nil {
		t.logger.Warn("session: left open, and closed now", "what", o.kind, "opened", o.from.String())
	}
}

// retry reports that a transaction is going to run again.
func (t *told) retry(ctx context.Context, tally *tally, attempt int, err error) {
	code := statusCodeKey.String(stateOf(err))
	t.retries.Add(ctx, 1, metric.WithAttributes(code))
	if tally.spans {
		tally.span.AddEvent("pgsafe.transaction.retry", trace.WithAttributes(attemptNumKey.Int(attempt), code))
	}
}
