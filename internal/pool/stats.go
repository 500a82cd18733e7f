package pool

import "time"

// Stats is a snapshot of a Pool.
type Stats struct {
	Max     int // the cap, zero for none
	Total   int // connections open or being opened
	InUse   int // in use, or being reset
	Idle    int
	Dialing int // being opened
	Waiting int // callers in the queue

	Dialed        int64         // dials begun, ever
	DialFailed    int64         // dials that failed, and connections that ended before their first use
	Acquired      int64         // calls of Acquire
	Waited        int64         // calls of Acquire that waited, and have ended
	WaitTime      time.Duration // the time of all those waits
	ClosedForIdle int64         // connections closed for being idle too long
	ClosedForAge  int64         // connections closed for their age
}

// counts are what Stats counts since New.
type counts struct {
	dialed, dialFailed, waits, closedForIdle, closedForAge int64
	waitTime                                               time.Duration
}

func (c *counts) waited(d time.Duration) {
	c.waits++
	c.waitTime += d
}

// Stats returns a snapshot.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.dials.underWay)
	return Stats{
		Max: p.limit, Total: p.openLocked() + n, InUse: p.used.n, Idle: p.countIdleLocked(), Dialing: n, Waiting: p.queue.n,
		Dialed: p.counts.dialed, DialFailed: p.counts.dialFailed, Acquired: p.acquired.Load(),
		Waited: p.counts.waits, WaitTime: p.counts.waitTime,
		ClosedForIdle: p.counts.closedForIdle, ClosedForAge: p.counts.closedForAge,
	}
}
