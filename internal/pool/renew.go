package pool

import (
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
)

// The connections of a pool belong to a generation. It ends when the server ends all its sessions,
// when the server is not the wanted one any more, or when the pool has lost two connections in a
// row. Idle connections of an old generation are closed at once, those in use when they come back.

// lose discards a connection that cannot go on, and learns from how it ended.
func (p *Pool) lose(c *Conn, state health.State) {
	p.mu.Lock()
	var ended []*Conn
	renewed := false
	if !p.closed {
		ended, renewed = p.learnLocked(c, state)
	}
	p.mu.Unlock()
	p.shutAll(ended)
	p.discard(c)
	if renewed && p.config.OnRenew != nil {
		p.config.OnRenew()
	}
}

// learnLocked returns the idle connections that end with a lost one, and whether the generation has
// ended.
func (p *Pool) learnLocked(c *Conn, state health.State) (ended []*Conn, renewed bool) {
	if state == health.Lost && !c.proven {
		p.failedLocked(errEndedEarly)
	}
	if c.generation != p.generation {
		return nil, false
	}
	switch state {
	case health.Doubtful:
		p.suspectAt = time.Now()
	case health.Lost:
		p.suspectAt = time.Now()
		ended = p.takeIdleLocked(func(c *Conn) bool { return c.Server.Ended(health.Suspect) })
		p.losses += 1 + len(ended)
		p.history.lost += len(ended)
		renewed = p.losses > 1 && c.proven
	case health.Outdated:
		renewed = true
	}
	if renewed {
		ended = append(ended, p.renewLocked()...)
	} else {
		p.history.lost++
	}
	return ended, renewed
}

// renewLocked ends the generation and its dials, and returns the idle connections.
func (p *Pool) renewLocked() []*Conn {
	p.generation++
	p.losses = 0
	p.history.lost, p.history.renewed = 0, p.openLocked()+p.history.lost
	for d := range p.dials.underWay {
		d.cancel()
	}
	return p.takeIdleLocked(func(*Conn) bool { return true })
}

// takeIdleLocked takes the idle connections for which is holds. The caller has to shut them.
func (p *Pool) takeIdleLocked(is func(*Conn) bool) (taken []*Conn) {
	for _, l := range []*list{&p.idle, &p.kept} {
		for c := l.head; c != nil; {
			next := c.next
			if is(c) {
				p.moveLocked(c, nil)
				p.closing++
				taken = append(taken, c)
			}
			c = next
		}
	}
	return taken
}

func (p *Pool) shutAll(conns []*Conn) {
	for _, c := range conns {
		p.shut(c)
	}
}
