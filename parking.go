package pgsafe

import (
	"sync"
	"time"
)

// place is where a physical connection stands.
type place uint8

const (
	inPool place = iota // idle in the physical pool, or gone
	held                // in use by a lease, or by native code on Connector.Pool
	parked              // with a lease that database/sql keeps idle
	fresh               // with a lease that was handed out and has run nothing yet
	places
)

// freshGrace is how long a lease may stay fresh before a waiter may have its connection. It is normally used within
// microseconds; one opened by database/sql's own goroutine for a caller who has gone is idle without our knowing.
const freshGrace = 20 * time.Millisecond

// parkingLot keeps one rule over two pools: nobody waits for a physical connection while database/sql keeps one
// idle. It is restored after every event that can break it: someone starts to acquire (acquireStarted), someone
// gets a connection and perhaps the last one (acquireEnded), a connection is being made and takes a place
// (rebalance), a lease is handed out and may be left unused (lend), a lease is put aside (park). A parked connection that is taken back is released to the pool, whose
// queue is first come, first served; its lease goes on without one and gets another when it is next used. Who waits while
// leases have all connections does so in a line of the lot's own (line.go).
type parkingLot struct {
	used      func(time.Duration) // is told how long a connection was in use; nil if nobody wants to know
	saturated func() bool         // whether the pool can give no connection without waiting; nil if it has no cap
	max       int                 // the cap, 0 if there is none

	arrivals arrivals // are told by acquireStarted

	mu         sync.Mutex // guards all below; nothing blocks under it
	acquiring  int        // Acquire calls under way
	lists      [places]connList
	closed     bool
	wake       *time.Timer // runs rebalance when a fresh lease becomes ripe
	takenBack  int64
	line       []*waiter // who waits for a lease to come back (line.go)
	lineLast   bool      // the last connection that both the line and the pool's queue waited for went to the line
	handedOver int64
	waited     time.Duration // by those to whom it was handed over
}

// connList is an intrusive list, oldest first, so that moving a connection allocates nothing.
type connList struct {
	head, tail *physical
	n          int
}

// move takes ph from its list to the end of another. The mutex is held.
func (l *parkingLot) move(ph *physical, to place) {
	if ph.place != inPool {
		from := &l.lists[ph.place]
		if ph.prev != nil {
			ph.prev.next = ph.next
		} else {
			from.head = ph.next
		}
		if ph.next != nil {
			ph.next.prev = ph.prev
		} else {
			from.tail = ph.prev
		}
		ph.prev, ph.next = nil, nil
		from.n--
	}
	ph.place, ph.since = to, time.Now()
	if to == inPool {
		ph.lease = nil
		return
	}
	target := &l.lists[to]
	ph.prev = target.tail
	if target.tail != nil {
		target.tail.next = ph
	} else {
		target.head = ph
	}
	target.tail = ph
	target.n++
}

// acquireStarted is called before a connection is taken from the pool, by whomever.
func (l *parkingLot) acquireStarted() {
	l.mu.Lock()
	l.acquiring++
	l.mu.Unlock()
	l.rebalance()
	l.arrivals.tell()
}

// acquireEnded is called after acquireStarted, with the connection or nil.
func (l *parkingLot) acquireEnded(ph *physical) {
	l.mu.Lock()
	l.acquiring--
	if ph != nil {
		l.move(ph, held)
	}
	l.roomLocked()
	l.mu.Unlock()
	l.rebalance()
}

// released is called before a connection goes back to the pool.
func (l *parkingLot) released(ph *physical) {
	l.mu.Lock()
	inUse := ph.inUse()
	l.move(ph, inPool)
	l.roomLocked()
	l.mu.Unlock()
	l.tellUse(inUse)
}

// inUse returns for how long the connection has been in use, 0 if it is not. The mutex is held.
func (ph *physical) inUse() time.Duration {
	if ph.place != held {
		return 0
	}
	return time.Since(ph.since)
}

// tellUse passes on how long a connection was in use, if it was. The mutex is not held.
func (l *parkingLot) tellUse(d time.Duration) {
	if l.used != nil && d > 0 {
		l.used(d)
	}
}

// lend binds ph, just acquired, to a lease that has not run anything.
func (l *parkingLot) lend(ph *physical, lease *Conn) {
	l.mu.Lock()
	ph.lease = lease
	if l.saturated == nil {
		lease.state.Store(leaseHeld) // nobody ever waits, so nobody will want it back
	} else {
		lease.state.Store(leaseFresh)
		l.move(ph, fresh)
		if l.acquiring+len(l.line) > 0 {
			l.wakeLocked(freshGrace) // in case nobody ever uses it
		}
	}
	l.mu.Unlock()
}

// rebind gives ph, just acquired, to a lease that is in use and had lost its connection.
func (l *parkingLot) rebind(ph *physical, lease *Conn) {
	l.mu.Lock()
	ph.lease = lease
	lease.state.Store(leaseHeld)
	l.mu.Unlock()
}

// use marks the lease as being used. It reports false if the lease has no connection any more.
func (l *parkingLot) use(lease *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch lease.state.Load() {
	case leaseParked, leaseFresh:
		lease.phys.idleSince = lease.phys.since
		l.move(lease.phys, held)
		lease.judged = false
		lease.state.Store(leaseHeld)
	case leaseEmpty, leaseClosed:
		return false
	}
	return true
}

// park puts a lease aside that database/sql is about to keep idle. If somebody waits in line, it is kept without its
// connection. It reports false if somebody waits in the pool's queue for that, to which database/sql then has to give it
// back. If there are both they take turns.
func (l *parkingLot) park(lease *Conn) bool {
	l.mu.Lock()
	wanted := l.acquiring > 0 && l.saturated != nil && l.saturated()
	inUse := lease.phys.inUse()
	switch {
	case l.closed, wanted && (l.lineLast || len(l.line) == 0):
		l.lineLast = false
		l.mu.Unlock()
		return false
	case len(l.line) > 0:
		l.lineLast = true
		l.handOverLocked(lease)
	default:
		l.move(lease.phys, parked)
		lease.state.Store(leaseParked)
	}
	l.mu.Unlock()
	l.tellUse(inUse)
	return true
}

// setAside puts a lease aside whose connection is still at work. park ends that.
func (l *parkingLot) setAside(lease *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease.state.Store(leaseParked)
}

// leave takes a lease out of the lot for good and returns what it still held, nil if that was taken back, and the
// state it was in.
func (l *parkingLot) leave(lease *Conn) (*stdConn, uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := lease.state.Swap(leaseClosed)
	switch before {
	case leaseEmpty, leaseClosed:
		return nil, before
	case leaseParked, leaseFresh:
		l.move(lease.phys, inPool) // out of reach of rebalance
	}
	return lease.stdConn, before
}

// rebalance takes idle leases' connections back while somebody waits for one.
func (l *parkingLot) rebalance() {
	if l.saturated == nil {
		return
	}
	var taken []*stdConn
	l.mu.Lock()
	if n := min(l.acquiring+len(l.line), l.lists[parked].n+l.lists[fresh].n); n > 0 && l.saturated() {
		taken = l.takeLocked(n)
	}
	l.mu.Unlock()
	release(taken)
}

// takeLocked takes up to n idle connections from their leases, parked ones first. If fewer are ripe it arranges to
// look again when the next one is. The mutex is held; the caller releases them without it.
func (l *parkingLot) takeLocked(n int) []*stdConn {
	taken := make([]*stdConn, 0, n)
	for len(taken) < n && l.lists[parked].n > 0 {
		taken = append(taken, l.takeBackLocked(l.lists[parked].head.lease))
	}
	for len(taken) < n && l.lists[fresh].n > 0 {
		oldest := l.lists[fresh].head
		if ripe := freshGrace - time.Since(oldest.since); ripe > 0 {
			l.wakeLocked(ripe)
			break
		}
		taken = append(taken, l.takeBackLocked(oldest.lease))
	}
	return taken
}

// takeBackLocked takes the connection from a lease that is not in use.
func (l *parkingLot) takeBackLocked(lease *Conn) *stdConn {
	l.takenBack++
	return l.emptyLocked(lease)
}

// emptyLocked leaves a lease without a connection.
func (l *parkingLot) emptyLocked(lease *Conn) *stdConn {
	std := lease.stdConn
	l.move(lease.phys, inPool)
	lease.stdConn, lease.phys = nil, nil
	lease.state.Store(leaseEmpty)
	return std
}

func (l *parkingLot) wakeLocked(after time.Duration) {
	switch {
	case l.closed:
	case l.wake == nil:
		l.wake = time.AfterFunc(after, l.rebalance)
	default:
		l.wake.Reset(after)
	}
}

// close ends the parking: what is parked is released, and no lease parks again. A fresh lease is its caller's, who
// may use it yet. A second call does nothing.
func (l *parkingLot) close() {
	l.mu.Lock()
	l.closed = true
	if l.wake != nil {
		l.wake.Stop()
	}
	taken := l.takeParkedLocked()
	for len(l.line) > 0 {
		l.callLocked(nil)
	}
	l.mu.Unlock()
	release(taken)
}

// evict releases all that is parked. The pool closes what is no longer good.
func (l *parkingLot) evict() {
	l.mu.Lock()
	taken := l.takeParkedLocked()
	l.mu.Unlock()
	release(taken)
}

func (l *parkingLot) takeParkedLocked() []*stdConn {
	var taken []*stdConn
	for l.lists[parked].n > 0 {
		taken = append(taken, l.takeBackLocked(l.lists[parked].head.lease))
	}
	return taken
}

// strip takes the connection from a lease that is in use, to be released by the caller.
func (l *parkingLot) strip(lease *Conn) *stdConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.emptyLocked(lease)
}

func release(conns []*stdConn) {
	for _, std := range conns {
		_ = std.Close() // a return to the pool, which reports nothing
	}
}

// occupancy is what the lot knows of who uses the connections.
type occupancy struct {
	held, parked, acquiring int
	longest                 time.Duration
	takenBack, handedOver   int64
	waited                  time.Duration
}

func (l *parkingLot) occupancy() occupancy {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := occupancy{
		held:       l.lists[held].n,
		parked:     l.lists[parked].n + l.lists[fresh].n,
		acquiring:  l.acquiring + len(l.line),
		takenBack:  l.takenBack,
		handedOver: l.handedOver,
		waited:     l.waited,
	}
	if oldest := l.lists[held].head; oldest != nil {
		o.longest = time.Since(oldest.since)
	}
	return o
}
