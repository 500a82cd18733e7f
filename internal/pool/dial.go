package pool

import (
	"context"
	"math/rand/v2"
	"time"
)

// Dials belong to the pool, not to callers. A caller that gives up ends no dial, and the connection
// goes to the next waiter. The pool begins a dial only if fewer are under way than there are
// waiters, or for a warm-up. If none is under way it begins one for the floor.

// dial is one dial under way.
type dial struct {
	begun      time.Time
	generation uint64
	cancel     context.CancelFunc
	slow       *time.Timer // fires when the dial may be replaced, nil for never
	replaced   bool
}

// dials are the dials under way, and how the last ones ended. The pool's mutex guards it.
type dials struct {
	underWay map[*dial]struct{}
	failure  *failure      // why the last dial failed, if that may pass, else nil
	pause    time.Duration // the present backoff
	retry    *time.Timer   // fires when the pause is over
	paused   bool          // the pause is under way
	quiet    time.Time     // the floor opens no connection before, after a failure that lasts
}

// dialLocked begins as many dials as are wanted.
func (p *Pool) dialLocked() {
	p.replaceSlowLocked()
	for p.wantsDialLocked() {
		d := &dial{begun: time.Now(), generation: p.generation}
		ctx, cancel := context.WithCancel(p.dialContextLocked())
		d.cancel = cancel
		why := p.whyLocked()
		if !p.work.Go(func(context.Context) { p.dial(ctx, d, why) }) {
			cancel()
			return
		}
		if p.config.SlowDial > 0 {
			d.slow = time.AfterFunc(p.config.SlowDial, p.lookAtDials)
		}
		if p.dials.underWay == nil {
			p.dials.underWay = make(map[*dial]struct{})
		}
		p.dials.underWay[d] = struct{}{}
		p.counts.dialed++
	}
}

// wantsDialLocked reports whether the pool needs another dial. While dials fail there is one at a
// time, the probe.
func (p *Pool) wantsDialLocked() bool {
	n, total := len(p.dials.underWay), p.totalLocked()
	switch {
	case p.closed, p.dials.paused, p.dials.failure != nil && n > 0, p.limit > 0 && total+n >= p.limit:
		return false
	case n+p.resetting < p.queue.n, n+total < p.warmTargetLocked():
		return true
	}
	// The floor is filled up one by one, so that a server that has just come up does not get the
	// dials of a whole fleet at once.
	return n == 0 && p.started && total < p.config.MinIdle && !time.Now().Before(p.dials.quiet)
}

// dial makes one connection.
func (p *Pool) dial(ctx context.Context, d *dial, why Dial) {
	defer d.cancel()
	server, err := p.config.Dial(ctx, why)
	p.mu.Lock()
	if d.slow != nil {
		d.slow.Stop()
	}
	delete(p.dials.underWay, d)
	useless := p.closed || d.generation != p.generation
	reconnected := false
	switch {
	case useless && err == nil:
		p.closing++
	case useless, d.replaced && err != nil:
	case err == nil:
		p.history.dialed, p.history.failures = true, 0
		reconnected = p.healedLocked()
		p.madeLocked(server, d)
	default:
		p.failedLocked(err)
	}
	p.dialLocked()
	p.mu.Unlock()
	switch {
	case useless && err == nil:
		p.shut(&Conn{Server: server})
	case reconnected && p.config.OnReconnect != nil:
		p.config.OnReconnect()
	}
}

// madeLocked adds a new connection to the pool.
func (p *Pool) madeLocked(server Server, d *dial) {
	now := time.Now()
	c := &Conn{Server: server, generation: d.generation, born: now, expires: server.Expires()}
	if p.config.MaxLifetime > 0 {
		end := now.Add(p.config.MaxLifetime + rand.N(p.config.LifetimeJitter+1))
		if c.expires.IsZero() || end.Before(c.expires) {
			c.expires = end
		}
	}
	p.placeLocked(c, now)
	p.warmedLocked(nil)
}

// lookAtDials replaces dials that have become slow.
func (p *Pool) lookAtDials() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replaceSlowLocked()
}

// replaceSlowLocked ends the slow dials that are older than the longest wait. Their end begins
// others. A packet that was lost must not cost the next caller all of its own time.
func (p *Pool) replaceSlowLocked() {
	w := p.queue.head
	if w == nil || p.config.SlowDial == 0 {
		return
	}
	for d := range p.dials.underWay {
		if time.Since(d.begun) >= p.config.SlowDial && w.since.After(d.begun) && !d.replaced {
			d.replaced = true
			d.cancel()
		}
	}
}
