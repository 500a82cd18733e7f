package pgsafe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// warmUpTimeout bounds the warm-up in the background, as pgxpool bounds its own refill.
const warmUpTimeout = time.Minute

// WarmUp opens connections, all at once, until the pool has n, in use or idle. The first that fails ends the
// others, and its error is returned. n above the cap is an error; connections that the pool has already, or that
// others open meanwhile, count.
func (c *Connector) WarmUp(ctx context.Context, n int) error {
	return c.fill(ctx, n, atOnce)
}

func atOnce() time.Duration { return 0 }

// fill is WarmUp, with a pause before each connection is begun.
func (c *Connector) fill(ctx context.Context, n int, pause func() time.Duration) error {
	if limit := int(c.profile.MaxConns); limit > 0 && n > limit {
		return fmt.Errorf("pgsafe: cannot warm up %d connections: the pool %q holds at most %d", n, c.name(), limit)
	}
	pool, err := c.open()
	if err != nil {
		return err
	}
	s := pool.Stat()
	missing := n - c.standing(s)
	if missing <= 0 {
		return nil
	}
	// The idle ones have to be held as well, or they would be taken in place of new ones.
	return c.hold(ctx, pool, missing+int(s.IdleConns()), n, pause)
}

// errEnough ends a warm-up: the pool has what was asked for.
var errEnough = errors.New("enough connections are open")

// warmUpTick is how often a warm-up looks whether others have opened what it waits for.
const warmUpTick = 5 * time.Millisecond

// hold acquires up to count connections together, each after a pause, then gives all back. It ends as soon as the pool
// has n, so that it holds none while it waits for those of others, or has no place left: those of an older generation
// that are in use may stay for long, and nobody else would get any until then.
func (c *Connector) hold(
	ctx context.Context, pool *pgxpool.Pool, count, n int, pause func() time.Duration,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]*pgxpool.Conn, count)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			if d := pause(); d > 0 && !c.pause(ctx, d) {
				return
			}
			conn, err := c.acquireForNobody(ctx, pool)
			if err != nil {
				cancel(err) // of several errors the first stays
				return
			}
			conns[i] = conn
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	tick := time.NewTicker(warmUpTick)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-tick.C:
			s := pool.Stat()
			if s.ConstructingConns() == 0 && (c.standing(s) >= n || s.AcquiredConns() >= s.MaxConns()) {
				cancel(errEnough)
			}
		}
	}
	for _, conn := range conns {
		if conn != nil {
			conn.Release()
		}
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, errEnough) {
		return c.connectError(err)
	}
	return nil
}

// acquireForNobody takes a connection out of the pool, which is not for a lease.
func (c *Connector) acquireForNobody(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	return connectWithin(ctx, c, pool.Acquire)
}

// warmUpInBackground does what the profile asks at the first use. pgxpool itself opens MinIdleConns then, so only
// those above are opened here. c.mu is held, so Close cannot be past its Wait.
func (c *Connector) warmUpInBackground(pool *pgxpool.Pool) {
	n, more := int(c.profile.WarmUp), int(c.profile.WarmUp-c.profile.MinIdleConns)
	if more <= 0 {
		return
	}
	c.work.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, warmUpTimeout)
		defer cancel()
		err := c.hold(ctx, pool, more, n, atOnce)
		if err == nil {
			err = c.WarmUp(ctx, n) // for those that pgxpool and we took from each other
		}
		if err != nil && c.ctx.Err() == nil {
			c.logger.Warn("pgsafe: warm-up failed", "pool", c, "error", err)
		}
	})
}
