package pool

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// A failure to dial either lasts, or it may pass by itself. One that lasts is an answer to one
// caller. One that may pass is tried again by a single dial at a time, the probe, with growing
// pauses. The waiters see the last failure, each when its own patience is spent. Until then they get
// what other callers release, from a server that has no room for more, too.

// failure is why a dial failed that may be tried again.
type failure struct {
	err      error
	patience time.Duration
}

// failedLocked gives a failure that lasts to the longest waiter. The pool tries again after a pause
// if the failure may pass.
func (p *Pool) failedLocked(err error) {
	p.counts.dialFailed++
	p.history.failures++
	if patience := p.config.Patience(err); patience > 0 {
		p.dials.failure = &failure{err, patience}
		p.pauseLocked()
		p.expireLocked()
	} else {
		p.dials.failure = nil
		p.quietLocked()
		if w := p.queue.head; w != nil {
			p.endWaitLocked(w, nil, err, time.Now())
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
	if f == nil {
		return
	}
	now := time.Now()
	for w := p.queue.head; w != nil; w = p.queue.head {
		if left := f.patience - now.Sub(w.since); left > 0 {
			p.queue.expiry.Reset(left)
			return
		}
		p.endWaitLocked(w, nil, f.err, now)
	}
}

// errEndedEarly is the failure of a dial that succeeded in vain. A connection that is lost before
// its first use counts as a failed dial. Otherwise the pool would dial without a pause a server
// that lets every connection in and ends it at once.
var errEndedEarly = fmt.Errorf("the server ended a new connection before its first use: %w", io.EOF)

// healedLocked forgets why dials failed, after one that succeeded. It reports whether it did. If
// the server ended the last connection early, only a connection that was used whole shows that it
// is well.
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
		p.dialLocked() // the other waiters need no probe any more
	}
}
