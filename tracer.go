package pgsafe

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"

	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// queryTracer makes poolTracer fit ConnConfig.Tracer, the one field through which pgxpool finds its tracers. No
// connection has it, so it is never called.
type queryTracer struct{}

func (queryTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (queryTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// poolTracer reports each acquire and release, of native code too, to the lot, to the Tracer and to
// the application's own tracer. It is the tracer of the pool alone: connections have those two
// without it, see connTracer.
type poolTracer struct {
	queryTracer
	lot    *parkingLot
	tracer *tracing.Tracer // nil without telemetry
	app    *multitracer.Tracer
}

var (
	_ pgxpool.AcquireTracer = (*poolTracer)(nil)
	_ pgxpool.ReleaseTracer = (*poolTracer)(nil)
)

func newPoolTracer(lot *parkingLot, app pgx.QueryTracer, tracer *tracing.Tracer) *poolTracer {
	var tracers []pgx.QueryTracer
	if app != nil {
		tracers = append(tracers, app)
	}
	return &poolTracer{lot: lot, tracer: tracer, app: multitracer.New(tracers...)}
}

type waitingKey struct{}

// waiting is when a caller began to wait.
type waiting struct {
	since time.Time
	taken bool // by the first Acquire with the context, which may reach others through the application's functions
}

// waitingSince returns a context for an Acquire whose caller has waited since then.
func waitingSince(ctx context.Context, since time.Time) context.Context {
	return context.WithValue(ctx, waitingKey{}, &waiting{since: since})
}

type acquiringKey struct{}

// acquiringSince notes in the context when the wait of an Acquire began.
func acquiringSince(ctx context.Context) context.Context {
	since := time.Now()
	if w, ok := ctx.Value(waitingKey{}).(*waiting); ok && !w.taken {
		since, w.taken = w.since, true
	}
	return context.WithValue(ctx, acquiringKey{}, since)
}

func (t *poolTracer) TraceAcquireStart(
	ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireStartData,
) context.Context {
	t.lot.acquireStarted()
	return t.app.TraceAcquireStart(acquiringSince(acquiring(ctx)), pool, data)
}

func (t *poolTracer) TraceAcquireEnd(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	var ph *physical
	if data.Conn != nil {
		ph = physicalOf(data.Conn)
	}
	t.lot.acquireEnded(ph)
	if since, ok := ctx.Value(acquiringKey{}).(time.Time); ok {
		t.tracer.Waited(ctx, data.Conn, time.Since(since), data.Err)
	}
	t.app.TraceAcquireEnd(ctx, pool, data)
}

func (t *poolTracer) TraceRelease(pool *pgxpool.Pool, data pgxpool.TraceReleaseData) {
	if ph := physicalOf(data.Conn); ph != nil {
		t.lot.released(ph)
	}
	if t.tracer != nil {
		t.tracer.TraceRelease(pool, data)
	}
	t.app.TraceRelease(pool, data)
}
