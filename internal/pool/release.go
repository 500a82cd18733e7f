package pool

import (
	"context"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
)

// Worked notes that the server has answered the connection's user. A connection that is lost before counts as a dial
// that failed.
func (c *Conn) Worked() { c.proven = true }

// Release gives a connection back, in whatever state it is.
func (p *Pool) Release(c *Conn) {
	now := time.Now()
	used := now.Sub(c.since)
	switch state := c.Server.State(); state {
	case health.Clean:
		p.put(c, now)
	case health.Dirty:
		p.reset(c)
	default:
		p.lose(c, state)
	}
	if p.config.OnRelease != nil {
		p.config.OnRelease(used)
	}
}

// put hands a clean connection to the longest waiter, or keeps it idle.
func (p *Pool) put(c *Conn, now time.Time) {
	p.mu.Lock()
	c.proven = true
	keep := !p.closed && !p.overLocked(c, now) && !p.aboveLimitLocked()
	if keep {
		p.placeLocked(c, now)
		p.usedLocked()
	}
	p.mu.Unlock()
	if !keep {
		p.retire(c)
	}
}

// resetTimeout bounds the reset of a connection, which is closed if it takes longer. It is what
// pgx's own driver allows a connection to close (stdlib.Conn.Close).
const resetTimeout = 5 * time.Second

// reset makes a dirty connection clean in the background. The connection counts as in use
// meanwhile.
func (p *Pool) reset(c *Conn) {
	c.note.set("a reset of the session")
	p.mu.Lock()
	c.proven = true
	c.inReset = true
	p.resetting++
	p.mu.Unlock()
	started := p.work.Go(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, resetTimeout)
		defer cancel()
		err := c.Server.Reset(ctx)
		if state := c.Server.State(); err != nil || state != health.Clean {
			p.lose(c, max(health.Unfit, state))
			return
		}
		p.put(c, time.Now())
	})
	if !started {
		p.discard(c)
	}
}

// discard closes a connection. Its place is free once it is closed, so that the server never has
// more connections than the cap.
func (p *Pool) discard(c *Conn) {
	p.mu.Lock()
	p.moveLocked(c, nil)
	p.closing++
	p.dialLocked() // for a waiter that counted on this connection
	p.mu.Unlock()
	p.shut(c)
}

// shut closes a connection that is in no list. It does so in the background, unless that takes no
// time.
func (p *Pool) shut(c *Conn) {
	end := func(context.Context) {
		c.Server.Close()
		p.mu.Lock()
		p.closing--
		p.dialLocked()
		p.mu.Unlock()
	}
	if c.Server.Closed() || !p.work.Go(end) {
		end(context.Background())
	}
}
