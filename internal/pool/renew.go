package pool

import (
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
)

// The connections of a pool belong to a generation. It ends when the server says that it ends its sessions, when it
// is not the wanted one any more, or when the pool has lost two connections in a row. Idle connections of an old
// generation are closed, those in use when they come back.

// lose discards a connection that cannot go on, and learns from how it ended.
func (p *Pool) lose(c *Conn, state health.State) {
	p.mu.Lock()
	var ended []*Conn
	renewed := false
	if c.generation == p.generation {
		ended, renewed = p.learnLocked(c, state)
	}
	if state == health.Lost && !c.proven {
		p.endedEarlyLocked()
	}
	p.mu.Unlock()
	p.shutAll(ended)
	p.Discard(c)
	if renewed && p.config.OnRenew != nil {
		p.config.OnRenew()
	}
}

// learnLocked returns the idle connections that end with a lost one, and whether the generation has ended.
func (p *Pool) learnLocked(c *Conn, state health.State) (ended []*Conn, renewed bool) {
	switch state {
	case health.Doubtful:
		p.suspectAt = time.Now()
	case health.Lost:
		p.suspectAt = time.Now()
		p.losses++
		ended = p.takeIdleLocked(func(c *Conn) bool { return c.Server.Ended(health.Suspect) })
		p.losses += len(ended)
		renewed = p.losses > 1 && c.proven
	case health.Outdated:
		renewed = true
	}
	if renewed {
		ended = append(ended, p.renewLocked()...)
	}
	return ended, renewed
}

// renewLocked ends the generation and returns the idle connections.
func (p *Pool) renewLocked() []*Conn {
	p.generation++
	p.losses = 0
	return p.takeIdleLocked(func(*Conn) bool { return true })
}

// takeIdleLocked takes the idle connections for which is holds. The caller has to shut them.
func (p *Pool) takeIdleLocked(is func(*Conn) bool) (taken []*Conn) {
	for c := p.idle.head; c != nil; {
		next := c.next
		if is(c) {
			p.moveLocked(c, nil)
			p.closing++
			taken = append(taken, c)
		}
		c = next
	}
	return taken
}

func (p *Pool) shutAll(conns []*Conn) {
	for _, c := range conns {
		p.shut(c)
	}
}
