package pool

import (
	"errors"
	"time"
)

// A Wait is what a caller waited for.
type Wait uint8

// What callers wait for.
const (
	NoWait    Wait = iota
	WaitPool       // another caller's release
	WaitDial       // a new connection
	WaitReset      // the reset of a connection's session
	WaitCheck      // a look at idle connections that turned out to be of no use
)

var waits = [...]string{"none", "pool", "dial", "reset", "check"}

// String returns the wait in one word.
func (w Wait) String() string { return waits[w] }

// A Dial says why the pool makes a connection.
type Dial struct {
	Attempt int // counted from 1, since the last dial that succeeded
	Reason  DialReason
}

// A DialReason is why the pool needs a connection.
type DialReason uint8

// The reasons. A floor or a warm-up that replaces a lost connection has the reason Lost.
const (
	FirstUse DialReason = iota // a caller waits, and there was none before
	Demand                     // a caller waits, and all others are in use
	Lost                       // it replaces a connection that was lost
	Renewal                    // it replaces a connection of a generation that has ended
	WarmUp                     // a warm-up asks for it
	Floor                      // the pool keeps as many open
)

var dialReasons = [...]string{"first_use", "demand", "lost", "renewal", "warm_up", "floor"}

// String returns the reason in one word.
func (r DialReason) String() string { return dialReasons[r] }

// history is what the reasons of dials follow from. The pool's mutex guards it.
type history struct {
	dialed   bool       // a dial has succeeded
	failures int        // of dials, in a row
	last     DialReason // of the last dial
	lost     int        // connections lost and not replaced
	renewed  int        // connections of generations that have ended, not replaced
}

// whyLocked returns why the next dial is wanted, and counts it.
func (p *Pool) whyLocked() Dial {
	h := &p.history
	if h.failures == 0 {
		h.last = p.reasonLocked()
	}
	return Dial{h.failures + 1, h.last}
}

func (p *Pool) reasonLocked() DialReason {
	h, n := &p.history, len(p.dials.underWay)
	waits := n+p.resetting < p.queue.n
	switch {
	case waits && !h.dialed:
		return FirstUse
	case h.renewed > 0:
		h.renewed--
		return Renewal
	case h.lost > 0:
		h.lost--
		return Lost
	case waits:
		return Demand
	case n+p.totalLocked() < p.warmTargetLocked():
		return WarmUp
	}
	return Floor
}

// DialError is the error of a caller that waited for a dial, which failed.
type DialError struct {
	Waited time.Duration
	Cause  error // as Config.Dial returned it
}

// Error is the cause's.
func (e *DialError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Cause }

// Refusal says what a caller has waited for in vain.
type Refusal struct {
	Waited time.Duration
	For    Wait
	Dial   error // why the last dial failed, nil if none has
}

// RefusalOf returns what an error of Acquire or Ensure says of the wait.
func RefusalOf(err error) Refusal {
	if late, ok := errors.AsType[*AcquireError](err); ok {
		return Refusal{late.Waited, late.For, late.Failure}
	}
	if failed, ok := errors.AsType[*DialError](err); ok {
		return Refusal{failed.Waited, WaitDial, failed.Cause}
	}
	return Refusal{}
}
