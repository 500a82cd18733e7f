package scope

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pgsafe/pgsafe/internal/pool"
	"github.com/pgsafe/pgsafe/internal/serverconn"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// Home is the sessions and transactions of one pool. Its fields are set before the first use. It is
// safe for concurrent use.
type Home struct {
	Pool    *pool.Pool
	Tracer  *tracing.Tracer // nil without telemetry
	Logger  *slog.Logger
	LogPool slog.LogValuer // what records call the pool

	// Acquire takes a connection of the pool. waited is how long the caller has waited already.
	Acquire func(ctx context.Context, text string, a *pool.Affinity, waited time.Duration) (*pool.Conn, error)

	inUse atomic.Bool // a context has belonged to something
	leaks leaks
}

// AcquireFor takes a connection of the pool for a statement of a session, which may be nil.
func (h *Home) AcquireFor(ctx context.Context, s *Session, text string, waited time.Duration) (*pool.Conn, error) {
	c, err := h.Acquire(ctx, text, s.affinityOf(), waited)
	if err == nil {
		s.checkedOut(waited + c.Waited())
	}
	return c, err
}

// Release gives a connection back to the pool. A session, which may be nil, keeps one that has
// session state.
func (h *Home) Release(c *pool.Conn, server *serverconn.Conn, s *Session) {
	if s != nil && server.HasEffects() && s.keep(c) {
		return
	}
	h.Pool.Release(c)
}
