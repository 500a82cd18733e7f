package pool

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Dials belong to the pool, not to callers. A caller that gives up ends no dial, and the connection
// goes to the next waiter. The pool begins a dial only if fewer are under way than there are waiters,
// or for a warm-up. If none is under way it begins one for the floor.

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
	case p.closed, p.dials.paused, p.dials.failure != nil && n > 0, p.config.Max > 0 && total+n >= p.config.Max:
		return false
	case n+p.resetting < p.queue.n, n+total < p.warmTargetLocked():
		return true
	}
	// The floor is filled up one by one, so that a server that has just come up does not get the
	// dials of a whole fleet at once.
	return n == 0 && p.started && total < p.config.MinIdle && !time.Now().Before(p.dials.quiet)
}

// dial makes one connection.
func (p *Pool) dial(ctx context.Context, d *dial) {
	defer d.cancel()
	server, err := p.config.Dial(ctx)
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

// failedLocked gives a failure that lasts to the longest waiter. The pool tries again after a pause
// if the failure may pass.
func (p *Pool) failedLocked(err error) {
	p.counts.dialFailed++
	if patience := p.config.Patience(err); patience > 0 {
		p.dials.failure = &failure{err, patience}
		p.pauseLocked()
		p.expireLocked()
	} else {
		p.dials.failure = nil
		p.quietLocked()
		if w := p.queue.head; w != nil {
			p.endWaitLocked(w, nil, err)
		}
	}
	p.warmedLocked(err)
}

// quietLocked keeps the floor from dialing in a loop.
func (p *Pool) quietLocked() {
	p.dials.quiet = time.Now().Add(max(lastPause, p.config.CheckPeriod))
	p.reapLaterLocked()
}

// The bounds of the pauses between probes. Each pause is random, and its bound doubles.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// pauseLocked has the next dial wait. Dials that fail together make one pause.
func (p *Pool) pauseLocked() {
	if p.dials.paused {
		return
	}
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
	if f == nil || p.isAtServersCapLocked(f.err) {
		return
	}
	now := time.Now()
	for w := p.queue.head; w != nil; w = p.queue.head {
		if left := f.patience - now.Sub(w.since); left > 0 {
			p.queue.expiry.Reset(left)
			return
		}
		p.endWaitLocked(w, nil, f.err)
	}
}

// isAtServersCapLocked reports whether the server has no room beside connections of this pool. Its
// waiters then wait for one of these, as they do at the pool's own cap.
func (p *Pool) isAtServersCapLocked(err error) bool {
	return p.config.IsFull != nil && p.config.IsFull(err) && p.idle.n+p.used.n > 0
}

// errEndedEarly is the failure of a dial that succeeded in vain. A connection that is lost before its
// first use counts as a failed dial. Otherwise the pool would dial without a pause a server that lets
// every connection in and ends it at once.
var errEndedEarly = fmt.Errorf("the server ended a new connection before its first use: %w", io.EOF)

// healedLocked forgets why dials failed, after one that succeeded. It reports whether it did. If the
// server ended the last connection early, only a connection that was used whole shows that it is well.
func (p *Pool) healedLocked() bool {
	f := p.dials.failure
	if f == nil || f.err == errEndedEarly { //nolint:errorlint // it is this very failure
		return false
	}
	p.dials.failure = nil
	return true
}

// usedLocked learns from a connection that was used whole.
func (p *Pool) usedLocked() {
	p.losses, p.dials.pause = 0, 0
	if f := p.dials.failure; f != nil && f.err == errEndedEarly { //nolint:errorlint // as above
		p.dials.failure = nil
	}
}

// lookAtDials replaces dials that have become slow.
func (p *Pool) lookAtDials() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replaceSlowLocked()
}

// replaceSlowLocked ends the slow dials that are older than the longest wait. Their end begins others.
// A packet that was lost must not cost the next caller all of its own time.
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
