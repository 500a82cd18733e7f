package pool

import (
	"context"
	"sync"
	"time"
)

// waiter is one caller in the queue. The pool uses it again, with its channel and its timer.
type waiter struct {
	ready      chan struct{} // has a token once the pool has set conn or err
	conn       *Conn
	err        error
	ctx        context.Context // the caller's: see dialContext
	text       string
	affinity   *Affinity
	bound      time.Duration // of the wait, zero for none
	since      time.Time
	timer      *time.Timer
	queued     bool
	prev, next *waiter
}

// queue holds the waiters, the longest first. The pool's mutex guards it.
type queue struct {
	head, tail *waiter
	n          int
	spare      *waiter     // waiters to use again, linked by next
	expiry     *time.Timer // fires when the longest waiter's patience with failing dials is spent
}

func (q *queue) join(ctx context.Context, text string, a *Affinity) *waiter {
	w := q.spare
	if w != nil {
		q.spare = w.next
	} else {
		w = &waiter{ready: make(chan struct{}, 1)}
	}
	w.ctx, w.text, w.affinity, w.since = ctx, text, a, time.Now()
	w.queued, w.prev, w.next = true, q.tail, nil
	if q.tail != nil {
		q.tail.next = w
	} else {
		q.head = w
	}
	q.tail = w
	q.n++
	return w
}

func (q *queue) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	q.n--
}

// recycle keeps a waiter whose wait is over for the next caller.
func (q *queue) recycle(w *waiter) {
	w.conn, w.err, w.ctx, w.text, w.affinity = nil, nil, nil, "", nil
	w.next, q.spare = q.spare, w
}

// wait returns what a waiter is given.
func (p *Pool) wait(ctx context.Context, w *waiter) (*Conn, error) {
	if p.onWait != nil {
		p.onWait()
	}
	late := w.startTimer(w.bound)
	var gaveUp error
	select {
	case <-w.ready:
	case <-ctx.Done():
		gaveUp = ctx.Err()
	case <-late:
		gaveUp = ErrTimeout
	}
	if late != nil {
		w.timer.Stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case gaveUp != nil && w.queued:
		w.err = p.acquireErrorLocked(w, gaveUp)
		p.leaveLocked(w, time.Now())
	case gaveUp != nil:
		<-w.ready // the pool gave it something meanwhile
	}
	c, err := w.conn, w.err
	if gaveUp == nil && err != nil && err != ErrClosed { //nolint:errorlint // it is this very error
		err = &DialError{time.Since(w.since), err}
	}
	p.queue.recycle(w)
	return c, err
}

// endWaitLocked gives a waiter a connection, or an error.
func (p *Pool) endWaitLocked(w *waiter, c *Conn, err error, now time.Time) {
	p.leaveLocked(w, now)
	w.conn, w.err = c, err
	w.ready <- struct{}{}
}

// leaveLocked takes a waiter out of the queue. Another waiter may be the longest now.
func (p *Pool) leaveLocked(w *waiter, now time.Time) {
	p.queue.remove(w)
	p.counts.waited(now.Sub(w.since))
	p.replaceSlowLocked()
}

// startTimer returns a channel for the end of a wait, nil if d sets no bound.
func (w *waiter) startTimer(d time.Duration) <-chan time.Time {
	switch {
	case d == 0:
		return nil
	case w.timer == nil:
		w.timer = time.NewTimer(d)
	default:
		w.timer.Reset(d)
	}
	return w.timer.C
}

// note is what a connection is in use for. The user writes it, the errors of other callers read it.
type note struct {
	mu   sync.Mutex
	text string
}

func (n *note) set(text string) {
	n.mu.Lock()
	n.text = text
	n.mu.Unlock()
}

func (n *note) get() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text
}

// Note sets what the connection's user is about to run, for the errors of other callers. It may be
// called at any time while the connection is in use.
func (c *Conn) Note(text string) { c.note.set(text) }

// Waited returns how long the connection's present user waited for it. Zero means that the
// connection was idle. Only the user may call it.
func (c *Conn) Waited() time.Duration { return c.waited }

// WaitedSince returns when the connection's present user began to wait, zero if it did not. before
// is how long it had waited elsewhere. Only the user may call it.
func (c *Conn) WaitedSince(before time.Duration) (since time.Time) {
	if waited := before + c.waited; waited > 0 {
		since = c.since.Add(-waited)
	}
	return since
}

// WaitedFor returns what the connection's present user waited for. Only the user may call it.
func (c *Conn) WaitedFor() Wait { return c.waitedFor }
