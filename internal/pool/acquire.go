package pool

import (
	"context"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
)

// Acquire returns a connection. text is what the caller is about to run, for the errors of others.
// The connection that a used last comes first; nil has no preference. The error is an *AcquireError
// if the wait was too long, ErrClosed, or the last failure to dial.
func (p *Pool) Acquire(ctx context.Context, text string, a *Affinity) (*Conn, error) {
	p.acquired.Add(1)
	return p.acquire(ctx, text, a)
}

func (p *Pool) acquire(ctx context.Context, text string, a *Affinity) (*Conn, error) {
	var began time.Time // the first try, if it came upon a connection of no use
	for {
		f, err := p.takeOrQueue(ctx, text, a)
		switch {
		case err != nil:
			return nil, err
		case f.conn == nil:
			c, err := p.wait(ctx, f.waiter)
			return c.waitingSince(began), err
		case p.fit(ctx, f):
			return f.conn.waitingSince(began), nil
		case began.IsZero():
			began = f.at
		}
	}
}

// waitingSince makes the wait of the connection's user begin earlier, with a look at connections
// that were of no use. The zero time changes nothing.
func (c *Conn) waitingSince(began time.Time) *Conn {
	if c == nil || began.IsZero() {
		return c
	}
	c.waited = c.since.Sub(began)
	if c.waitedFor == NoWait {
		c.waitedFor = WaitCheck
	}
	return c
}

// found is what a caller finds: an idle connection and what is known of it, or a place in the
// queue.
type found struct {
	conn   *Conn
	at     time.Time
	over   bool // its time is over
	idle   time.Duration
	trust  health.Trust
	waiter *waiter
}

// takeOrQueue returns an idle connection, or a place in the queue.
func (p *Pool) takeOrQueue(ctx context.Context, text string, a *Affinity) (found, error) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return found{}, ErrClosed
	}
	p.started = true
	c := p.idleLocked(a)
	if c == nil {
		w := p.queue.join(ctx, text, a)
		w.bound = p.timeout
		p.dialLocked()
		p.expireLocked()
		return found{waiter: w}, nil
	}
	f := found{conn: c, at: now, over: p.overLocked(c, now), idle: now.Sub(c.since)}
	if !c.since.After(p.suspectAt) {
		f.trust = health.Suspect
	}
	p.useLocked(c, text, a, now)
	return f, nil
}

// fit reports whether a connection that was taken from the idle list can be used. It discards one
// that cannot.
func (p *Pool) fit(ctx context.Context, f found) bool {
	switch {
	case f.over:
		p.retire(f.conn)
		return false
	case f.conn.Server.Fit(ctx, f.idle, f.trust):
		return true
	}
	p.lose(f.conn, max(health.Unfit, f.conn.Server.State()))
	return false
}
