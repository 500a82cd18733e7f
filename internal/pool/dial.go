package pool

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Dials belong to the pool, not to callers: a caller that gives up ends none, and the connection goes to the next
// waiter. There are never more dials under way than waiters, one more for the floor, and what a warm-up asks for.

// dial is one dial under way.
type dial struct {
	begun      time.Time
	generation uint64
	cancel     context.CancelFunc
	slow       *time.Timer // fires when it may be replaced
	replaced   bool
}

// dials are those under way, and how the last ones ended. The pool's mutex guards it.
type dials struct {
	underWay map[*dial]struct{}
	failure  *failure      // why the last dial failed, nil after a success
	pause    time.Duration // the present backoff
	retry    *time.Timer   // fires when the pause is over
	paused   bool          // the pause is under way
	quiet    time.Time     // until when the floor opens no connection, after a failure that lasts
}

// failure is why a dial failed that may be tried again.
type failure struct {
	err      error
	patience time.Duration
}

// dialLocked begins as many dials as are wanted.
func (p *Pool) dialLocked() {
	p.replaceSlowLocked()
	for p.wantsDialLocked() {
		d := &dial{begun: time.Now(), generation: p.generation}
		ctx, cancel := context.WithCancel(p.work.Context())
		d.cancel = cancel
		if !p.work.Go(func(context.Context) { p.dial(ctx, d) }) {
			cancel()
			return
		}
		d.slow = time.AfterFunc(p.config.SlowDial, p.lookAtDials)
		if p.dials.underWay == nil {
			p.dials.underWay = make(map[*dial]struct{})
		}
		p.dials.underWay[d] = struct{}{}
		p.counts.dialed++
	}
}

// wantsDialLocked reports whether another dial is to begin. While dials fail there is one at a time, the probe.
func (p *Pool) wantsDialLocked() bool {
	n, total := len(p.dials.underWay), p.totalLocked()
	switch {
	case p.closed, p.dials.paused, p.dials.failure != nil && n > 0, p.config.Max > 0 && total+n >= p.config.Max:
		return false
	case n+p.resetting < p.queue.n, n+total < p.warmTargetLocked():
		return true
	}
	// The floor is filled up one by one, so that a server that has just come up does not get a fleet's all at once.
	return n == 0 && p.started && total < p.config.MinIdle && !time.Now().Before(p.dials.quiet)
}

// dial makes one connection.
func (p *Pool) dial(ctx context.Context, d *dial) {
	defer d.cancel()
	server, err := p.config.Dial(ctx)
	p.mu.Lock()
	d.slow.Stop()
	delete(p.dials.underWay, d)
	useless := p.closed || d.generation != p.generation
	reconnected := !useless && err == nil && p.dials.failure != nil
	switch {
	case useless:
	case err == nil:
		p.madeLocked(server, d)
	case !d.replaced:
		p.failedLocked(err)
	}
	p.dialLocked()
	p.mu.Unlock()
	switch {
	case useless && err == nil:
		server.Close()
	case reconnected && p.config.OnReconnect != nil:
		p.config.OnReconnect()
	}
}

// madeLocked takes a new connection in.
func (p *Pool) madeLocked(server Server, d *dial) {
	p.dials.failure = nil
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

// failedLocked gives a failure that lasts to the longest waiter. One that may pass is tried again after a pause.
func (p *Pool) failedLocked(err error) {
	p.counts.dialFailed++
	if patience := p.config.Patience(err); patience > 0 {
		p.dials.failure = &failure{err, patience}
		p.pauseLocked()
		p.expireLocked()
		p.warmedLocked(err)
		return
	}
	p.dials.quiet = time.Now().Add(p.config.CheckPeriod)
	p.reapLaterLocked()
	if w := p.queue.pop(); w != nil {
		w.give(nil, err)
	}
	p.warmedLocked(err)
}

// The pauses between probes: each is random, up to a bound that doubles.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// pauseLocked has the next dial wait.
func (p *Pool) pauseLocked() {
	p.dials.pause = min(lastPause, max(firstPause, 2*p.dials.pause))
	p.dials.paused = true
	p.dials.retry.Reset(p.dials.pause/2 + rand.N(p.dials.pause/2))
}

// retry ends a pause.
func (p *Pool) retry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials.paused = false
	p.dialLocked()
}

// expire gives the last failure to the waiters whose patience is spent.
func (p *Pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expireLocked()
}

func (p *Pool) expireLocked() {
	f := p.dials.failure
	// A server without room may still free a connection of this pool: its waiters wait as at the cap.
	if f == nil || p.config.IsFull != nil && p.config.IsFull(f.err) && p.idle.n+p.used.n > 0 {
		return
	}
	now := time.Now()
	for w := p.queue.head; w != nil; w = p.queue.head {
		if left := f.patience - now.Sub(w.since); left > 0 {
			p.queue.expiry.Reset(left)
			return
		}
		p.queue.remove(w)
		w.give(nil, f.err)
	}
}

// errEndedEarly stands for a dial that succeeded in vain.
var errEndedEarly = fmt.Errorf("the server ended a new connection before its first use: %w", io.EOF)

// endedEarlyLocked counts a connection that was lost before its first use as a failed dial. Otherwise a server that
// lets every connection in and ends it at once would be dialed without a pause.
func (p *Pool) endedEarlyLocked() {
	p.counts.dialFailed++
	p.dials.failure = &failure{errEndedEarly, p.config.Patience(errEndedEarly)}
	p.pauseLocked()
}

// lookAtDials begins dials in place of those that take too long.
func (p *Pool) lookAtDials() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialLocked()
}

// replaceSlowLocked ends slow dials that every caller of their time has given up. A packet that was lost must not cost
// the next caller all of its own time.
func (p *Pool) replaceSlowLocked() {
	w := p.queue.head
	if w == nil {
		return
	}
	for d := range p.dials.underWay {
		if time.Since(d.begun) >= p.config.SlowDial && w.since.After(d.begun) && !d.replaced {
			d.replaced = true
			d.cancel()
		}
	}
}
