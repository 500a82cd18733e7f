package pgsafe

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// queryTracer makes poolTracer fit ConnConfig.Tracer, the one field through which pgxpool finds its tracers. No
// connection has it, so it is never called.
type queryTracer struct{}

func (queryTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (queryTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// poolTracer tells the lot of every acquire and release, those of native code too, and passes them on to the
// application's own tracer. It is the tracer of the pool alone: connections get the application's, so that a
// statement pays nothing for it.
type poolTracer struct {
	queryTracer
	lot     *parkingLot
	acquire pgxpool.AcquireTracer // nil if the application has none
	release pgxpool.ReleaseTracer // nil if the application has none
}

var (
	_ pgxpool.AcquireTracer = (*poolTracer)(nil)
	_ pgxpool.ReleaseTracer = (*poolTracer)(nil)
)

func newPoolTracer(lot *parkingLot, app pgx.QueryTracer) *poolTracer {
	t := &poolTracer{lot: lot}
	t.acquire, _ = app.(pgxpool.AcquireTracer)
	t.release, _ = app.(pgxpool.ReleaseTracer)
	return t
}

func (t *poolTracer) TraceAcquireStart(
	ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireStartData,
) context.Context {
	t.lot.acquireStarted()
	if t.acquire != nil {
		return t.acquire.TraceAcquireStart(ctx, pool, data)
	}
	return ctx
}

func (t *poolTracer) TraceAcquireEnd(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	var ph *physical
	if data.Conn != nil {
		ph = physicalOf(data.Conn)
	}
	t.lot.acquireEnded(ph)
	if t.acquire != nil {
		t.acquire.TraceAcquireEnd(ctx, pool, data)
	}
}

func (t *poolTracer) TraceRelease(pool *pgxpool.Pool, data pgxpool.TraceReleaseData) {
	if ph := physicalOf(data.Conn); ph != nil {
		t.lot.released(ph)
	}
	if t.release != nil {
		t.release.TraceRelease(pool, data)
	}
}
