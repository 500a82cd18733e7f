package telemetry

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A pgxpool finds these two tracers in the Tracer field of its ConnConfig (pgxpool/pool.go,
// NewWithConfig). The pool of pgsafe itself does not use them: it calls Waited and Used.
var (
	_ pgxpool.AcquireTracer = (*Tracer)(nil)
	_ pgxpool.ReleaseTracer = (*Tracer)(nil)
)

// native is the application's own pgxpool, if the Tracer is its tracer.
type native struct {
	observe sync.Once
	waiting atomic.Int64 // Acquire calls under way
}

type acquireStartedKey struct{}

// TraceAcquireStart records when the caller asked pool for a connection. The first call begins to
// observe pool.
func (t *Tracer) TraceAcquireStart(
	ctx context.Context, pool *pgxpool.Pool, _ pgxpool.TraceAcquireStartData,
) context.Context {
	t.native.observe.Do(func() { t.observeNative(pool) })
	t.native.waiting.Add(1)
	return context.WithValue(ctx, acquireStartedKey{}, time.Now())
}

// TraceAcquireEnd measures the wait, and begins the use of the connection.
func (t *Tracer) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	started, ok := ctx.Value(acquireStartedKey{}).(time.Time)
	if !ok {
		return
	}
	t.native.waiting.Add(-1)
	now := time.Now()
	t.acquired(ctx, data.Conn, started, data.Err)
	if data.Conn == nil {
		return
	}
	c := t.connOf(data.Conn)
	c.mu.Lock()
	c.acquired = now
	c.mu.Unlock()
}

// TraceRelease measures the use of a connection that goes back to its pool. It ends what is still
// open there: pgxpool closes a connection that is busy or in a transaction (pgxpool/conn.go,
// Release).
func (t *Tracer) TraceRelease(_ *pgxpool.Pool, data pgxpool.TraceReleaseData) {
	c, known := knownConn(data.Conn)
	if !known {
		return
	}
	if acquired := c.takeAcquired(); !acquired.IsZero() {
		t.Used(time.Since(acquired))
	}
	c.settle()
}

// takeAcquired returns when a pgxpool handed the connection out, once. It is zero for a connection
// of pgsafe's own pool, which calls Used.
func (c *conn) takeAcquired() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	acquired := c.acquired
	c.acquired = time.Time{}
	return acquired
}

// observeNative observes pool until the garbage collector frees it. pgxpool has no hook for Close,
// and an observation must not keep a closed pool in memory.
func (t *Tracer) observeNative(pool *pgxpool.Pool) {
	observed := weak.Make(pool)
	t.Observe(func() Pool {
		p := observed.Value()
		if p == nil {
			return Pool{}
		}
		s, c := p.Stat(), p.Config()
		return Pool{
			Used: int64(s.AcquiredConns()), Idle: int64(s.IdleConns()), Max: int64(s.MaxConns()),
			IdleMin: int64(max(c.MinConns, c.MinIdleConns)), Pending: t.native.waiting.Load(),
		}
	})
	runtime.AddCleanup(pool, (*metrics).close, t.metrics)
}
