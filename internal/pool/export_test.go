package pool

import (
	"slices"
	"time"
)

// OnWait has f called by each caller that begins to wait, between the queue and the wait.
func (p *Pool) OnWait(f func()) { p.onWait = f }

// Snapshot is what the model sees of a pool's inside.
type Snapshot struct {
	Idle, Used []ConnView
	Dials      []DialView
	Queue      []string // the texts of the waiters, the longest first
	Joined     []time.Time
	Closing    int
	Resetting  int
	Losses     int
	Paused     bool
	Quiet      bool
	Started    bool
	Failure    string
	Warming    int
}

// ConnView is one connection.
type ConnView struct {
	Server                         Server
	Text                           string
	Proven, Stale, Suspect, Resets bool
}

// DialView is one dial under way.
type DialView struct {
	Begun           time.Time
	Stale, Replaced bool
}

// Snapshot returns the pool's inside.
func (p *Pool) Snapshot() Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Snapshot{
		Idle: append(p.viewLocked(&p.idle), p.viewLocked(&p.kept)...), Used: p.viewLocked(&p.used), Closing: p.closing, Resetting: p.resetting,
		Losses: p.losses, Paused: p.dials.paused, Quiet: time.Now().Before(p.dials.quiet), Started: p.started,
		Warming: len(p.warmers),
	}
	if p.dials.failure != nil {
		s.Failure = p.dials.failure.err.Error()
	}
	for w := p.queue.head; w != nil; w = w.next {
		s.Queue = append(s.Queue, w.text)
		s.Joined = append(s.Joined, w.since)
	}
	for d := range p.dials.underWay {
		s.Dials = append(s.Dials, DialView{d.begun, d.generation != p.generation, d.replaced})
	}
	slices.SortFunc(s.Dials, func(a, b DialView) int { return a.Begun.Compare(b.Begun) })
	return s
}

func (p *Pool) viewLocked(l *list) []ConnView {
	var all []ConnView
	for c := l.head; c != nil; c = c.next {
		all = append(all, ConnView{
			c.Server, c.note.get(), c.proven, c.generation != p.generation, !c.since.After(p.suspectAt), c.inReset,
		})
	}
	return all
}
