package pgsafe

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsafe/pgsafe/telemetry"
)

// queryTracer makes poolTracer fit ConnConfig.Tracer, the one field through which pgxpool finds its tracers. No
// connection has it, so it is never called.
type queryTracer struct{}

func (queryTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (queryTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// poolTracer tells the lot of every acquire and release, those of native code too, and passes them on to the
// application's own tracer and to telemetry. It is the tracer of the pool alone: connections have those two without it,
// see connTracer.
type poolTracer struct {
	queryTracer
	lot  *parkingLot
	next *multitracer.Tracer
}

var (
	_ pgxpool.AcquireTracer = (*poolTracer)(nil)
	_ pgxpool.ReleaseTracer = (*poolTracer)(nil)
)

func newPoolTracer(lot *parkingLot, app pgx.QueryTracer, ours *telemetry.Tracer) *poolTracer {
	var tracers []pgx.QueryTracer
	if ours != nil {
		tracers = append(tracers, ours) // first, as in connTracer
	}
	if app != nil {
		tracers = append(tracers, app)
	}
	return &poolTracer{lot: lot, next: multitracer.New(tracers...)}
}

func (t *poolTracer) TraceAcquireStart(
	ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireStartData,
) context.Context {
	t.lot.acquireStarted()
	return t.next.TraceAcquireStart(acquiring(ctx), pool, data)
}

func (t *poolTracer) TraceAcquireEnd(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	var ph *physical
	if data.Conn != nil {
		ph = physicalOf(data.Conn)
	}
	t.lot.acquireEnded(ph)
	t.next.TraceAcquireEnd(ctx, pool, data)
}

func (t *poolTracer) TraceRelease(pool *pgxpool.Pool, data pgxpool.TraceReleaseData) {
	if ph := physicalOf(data.Conn); ph != nil {
		t.lot.released(ph)
	}
	t.next.TraceRelease(pool, data)
}
