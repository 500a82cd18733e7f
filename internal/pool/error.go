package pool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrTimeout is the cause of an AcquireError when the pool's AcquireTimeout is over.
var ErrTimeout = errors.New("no connection within the pool's acquire timeout")

// AcquireError is the error of a caller that got no connection in time.
type AcquireError struct {
	InUse   int           // connections in use
	Max     int           // the cap, zero for none
	Dialing int           // connections being opened
	Waiting int           // callers that waited, this one included
	Holders []Holder      // the connections in longest use, three at most
	Waited  time.Duration // by this caller
	For     Wait          // what it waited for
	Cause   error         // the error of the caller's context, or ErrTimeout
	Failure error         // why the last dial failed, if that may pass, else nil
}

// Holder is one connection in use.
type Holder struct {
	Text string        // the text of Acquire, or of the last Note
	For  time.Duration // for how long it has been in use
}

// Error returns the cause and the numbers, without what connections are in use for.
func (e *AcquireError) Error() string {
	limit := ""
	if e.Max > 0 {
		limit = fmt.Sprintf(" of %d", e.Max)
	}
	return fmt.Sprintf("%v: %d%s in use, %d being opened, %d waiting", e.Cause, e.InUse, limit, e.Dialing, e.Waiting)
}

// TimedOut reports whether a deadline ended the wait: the caller's, or the pool's own.
func (e *AcquireError) TimedOut() bool { return !errors.Is(e.Cause, context.Canceled) }

// Reason returns what package failure calls it: pool_exhausted if all connections that the pool may
// have are in use, whichever time was over. It is "" if the reason lies elsewhere.
func (e *AcquireError) Reason() string {
	if e.Failure == nil && e.Max > 0 && (e.InUse >= e.Max || e.Dialing == 0) {
		return "pool_exhausted"
	}
	return ""
}

// Unwrap returns Cause, and Failure if there is one.
func (e *AcquireError) Unwrap() []error {
	if e.Failure == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Failure}
}

// maxHolders bounds the holders in an error.
const maxHolders = 3

func (p *Pool) acquireErrorLocked(w *waiter, cause error) *AcquireError {
	e := &AcquireError{
		InUse: p.used.n, Max: p.limit, Dialing: len(p.dials.underWay), Waiting: p.queue.n,
		Waited: time.Since(w.since), For: WaitPool, Cause: cause,
	}
	switch {
	case e.Dialing > 0, p.dials.failure != nil, p.dials.paused:
		e.For = WaitDial
	case p.resetting > 0:
		e.For = WaitReset
	}
	if f := p.dials.failure; f != nil {
		e.Failure = f.err
	}
	for c := p.used.head; c != nil && len(e.Holders) < maxHolders; c = c.next {
		e.Holders = append(e.Holders, Holder{c.note.get(), time.Since(c.since)})
	}
	return e
}
