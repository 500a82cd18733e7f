package pgsafe

import (
	"context"
	"slices"
	"time"
)

// Where leases have all connections, the next one to come back goes from its lease to the caller who has waited longest, as
// it is: it was used a moment ago, so there is nothing to look at. To give it to the pool first, and take it out again, costs
// several times as much, and that is what a pool does most when it is too small for its load. The pool's own queue is
// for those whom it can give a connection to, native code, and all who have begun to wait there.

// waiter is a place in the line.
type waiter struct {
	since time.Time
	ready chan struct{} // closed when it is its turn
	std   *stdConn      // what it is handed, nil if the pool has a connection for it; to be read once ready is closed
}

// join takes a place in the line. It returns nil if not all connections are in use, as far as the lot knows, and the pool is
// to be asked.
func (l *parkingLot) join() *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.max == 0 || l.lists[held].n+l.lists[fresh].n < l.max {
		return nil
	}
	w := &waiter{since: time.Now(), ready: make(chan struct{})}
	l.line = append(l.line, w)
	if l.lists[fresh].n > 0 {
		l.wakeLocked(freshGrace) // in case nobody ever uses it
	}
	return w
}

// quit takes a waiter out of the line. It reports false if its turn came before.
func (l *parkingLot) quit(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.line, w)
	if i >= 0 {
		l.line = slices.Delete(l.line, i, i+1)
	}
	return i >= 0
}

// callLocked ends the wait of the first in line, with a connection or, to ask the pool, without. The mutex is held.
func (l *parkingLot) callLocked(std *stdConn) {
	w := l.line[0]
	l.line[0] = nil
	l.line = l.line[1:]
	w.std = std
	close(w.ready)
}

// roomLocked calls the first in line if the pool has a connection that it owes to nobody in its own queue, or room for one.
// It looks again when whoever was called has got that (acquireEnded). The mutex is held.
func (l *parkingLot) roomLocked() {
	if len(l.line) > 0 && l.acquiring == 0 && l.lists[held].n+l.lists[fresh].n+l.lists[parked].n < l.max {
		l.callLocked(nil)
	}
}

// handOverLocked gives the connection of a lease that has come back to the first in line. The mutex is held.
func (l *parkingLot) handOverLocked(lease *Conn) {
	ph := lease.phys
	std := l.emptyLocked(lease)
	l.move(ph, held)
	l.handedOver++
	l.waited += time.Since(l.line[0].since)
	l.callLocked(std)
}

// fromLine waits in line for a connection. Without one, and no error, the pool is to be asked, with the context that is
// returned.
func (c *Connector) fromLine(ctx context.Context) (*stdConn, context.Context, error) {
	w := c.lot.join()
	if w == nil {
		return nil, ctx, nil
	}
	c.lot.arrivals.tell()
	select {
	case <-w.ready:
	case <-ctx.Done():
		if c.lot.quit(w) {
			c.tracer.Waited(ctx, nil, time.Since(w.since), ctx.Err())
			return nil, ctx, ctx.Err()
		}
	}
	switch {
	case w.std != nil:
	case c.ctx.Err() != nil: // the pool would have it wait for a connection to come back
		return nil, ctx, ErrClosed
	default:
		return nil, waitingSince(ctx, w.since), nil
	}
	c.tracer.Waited(ctx, w.std.Conn(), time.Since(w.since), nil)
	return w.std, ctx, nil
}
