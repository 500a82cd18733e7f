package pool

import "time"

// Close closes the idle connections and ends dials, resets and waits. When it returns, no goroutine
// of the pool is left. It does not wait for connections in use: they close when they come back. One
// that does not come back within five seconds, because its rows were forgotten, say, is cut off as
// soon as the server does no work for it. A second call does nothing.
func (p *Pool) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	for w := p.queue.head; w != nil; w = p.queue.head {
		p.endWaitLocked(w, nil, ErrClosed, time.Now())
	}
	p.warmedLocked(ErrClosed)
	for _, t := range []*time.Timer{p.reaper, p.dials.retry, p.queue.expiry} {
		t.Stop()
	}
	idle := p.takeIdleLocked(func(*Conn) bool { return true })
	p.abortLaterLocked()
	p.mu.Unlock()
	p.shutAll(idle)
	p.work.Close()
}

// abortAfter is how long connections in use have to come back after Close.
const abortAfter = 5 * time.Second

func (p *Pool) abortLaterLocked() {
	if p.used.n > 0 {
		p.aborter.Reset(abortAfter)
	}
}

// abortRest cuts off the connections that have not come back. It looks again later if the server
// works for one.
func (p *Pool) abortRest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := p.used.head; c != nil; {
		next := c.next
		if c.Server.Abort() {
			p.moveLocked(c, nil)
		}
		c = next
	}
	p.abortLaterLocked()
}
