package session

import (
	"sync"
	"sync/atomic"
	"time"
)

// holds are the sessions that keep a connection unused, the longest first. The list goes through the sessions themselves,
// so that nothing is allocated for a statement.
type holds struct {
	linger   time.Duration
	pressure pressure
	pace     pace

	mu         sync.Mutex // guards all below, and nextHold, prevHold and heldSince of each session; nothing else is locked under it
	head, tail *session
	n          atomic.Int32  // written under mu
	timer      *time.Timer   // calls sweep
	due        time.Duration // when, counted from start; 0 if it does not run
}

// empty costs no lock: everybody asks who takes a connection.
func (h *holds) empty() bool { return h.n.Load() == 0 }

// limit is for how long a connection may be kept now.
func (h *holds) limit() time.Duration {
	switch {
	case !h.pressure.seen():
		return h.linger
	case h.pace.brisk():
		return min(h.linger, brief)
	}
	return 0
}

// add puts a session at the end. It is not in the list.
func (h *holds) add(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.prevHold, s.heldSince = h.tail, now()
	if h.tail != nil {
		h.tail.nextHold = s
	} else {
		h.head = s
	}
	h.tail = s
	h.n.Add(1)
	h.wakeLocked(s.heldSince + h.limit())
}

// remove takes a session out of the list. It reports since when it was in it, false if it was not.
func (h *holds) remove(s *session) (since time.Duration, was bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.heldSince, h.removeLocked(s)
}

// has tells whether a session is in the list.
func (h *holds) has(s *session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hasLocked(s)
}

func (h *holds) hasLocked(s *session) bool { return h.head == s || s.prevHold != nil }

func (h *holds) removeLocked(s *session) bool {
	if !h.hasLocked(s) {
		return false
	}
	if s.prevHold != nil {
		s.prevHold.nextHold = s.nextHold
	} else {
		h.head = s.nextHold
	}
	if s.nextHold != nil {
		s.nextHold.prevHold = s.prevHold
	} else {
		h.tail = s.prevHold
	}
	s.prevHold, s.nextHold = nil, nil
	h.n.Add(-1)
	return true
}

// sweep gives back what was kept for long enough, and comes again for the rest.
func (h *holds) sweep() {
	if h.empty() {
		return
	}
	for s := h.lapsed(); s != nil; s = h.lapsed() {
		s.yield()
	}
}

// lapsed takes a session out of the list that has kept its connection for long enough, nil if there is none.
func (h *holds) lapsed() *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.head
	if s == nil {
		return nil
	}
	limit := h.limit()
	if until := s.heldSince + limit; until > now() {
		h.wakeLocked(until)
		return nil
	}
	if limit > 0 {
		h.pace.note(limit)
	}
	h.removeLocked(s)
	return s
}

// wakeLocked has sweep come at that time, if it does not come before. The mutex is held.
func (h *holds) wakeLocked(at time.Duration) {
	switch {
	case h.due != 0 && h.due <= at:
		return
	case h.timer == nil:
		h.timer = time.AfterFunc(at-now(), h.woken)
	default:
		h.timer.Reset(at - now())
	}
	h.due = at
}

func (h *holds) woken() {
	h.mu.Lock()
	h.due = 0
	h.mu.Unlock()
	h.sweep()
}
