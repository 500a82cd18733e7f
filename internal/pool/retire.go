package pool

import (
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
)

// overLocked reports whether a connection's time is over.
func (p *Pool) overLocked(c *Conn, now time.Time) bool {
	return c.generation != p.generation || p.agedLocked(c, now)
}

// agedLocked reports whether a connection is too old.
func (p *Pool) agedLocked(c *Conn, now time.Time) bool {
	return !c.expires.IsZero() && !now.Before(c.expires) || p.maxAge > 0 && now.Sub(c.born) > p.maxAge
}

// retire discards a connection whose time is over.
func (p *Pool) retire(c *Conn) {
	p.mu.Lock()
	if p.agedLocked(c, time.Now()) {
		p.counts.closedForAge++
	}
	p.mu.Unlock()
	p.discard(c)
}

// RetireOlder ends the connections that are older than age, from now on: idle ones now or soon,
// others when they come back. Zero lifts the limit.
func (p *Pool) RetireOlder(age time.Duration) {
	now := time.Now()
	p.mu.Lock()
	p.maxAge = age
	old := p.takeOverLocked(now)
	p.reaping = false // the next look may have to come sooner
	if p.countIdleLocked() > 0 {
		p.reapLaterLocked()
	}
	p.mu.Unlock()
	p.shutAll(old)
}

// RetireIdle ends the connections that have been idle for that long, except the floor's.
func (p *Pool) RetireIdle(idle time.Duration) {
	p.mu.Lock()
	old := p.takeLongIdleLocked(time.Now(), idle)
	p.mu.Unlock()
	p.shutAll(old)
}

// RetireExpired ends the idle connections whose time is over, without waiting for the next look.
func (p *Pool) RetireExpired() {
	p.mu.Lock()
	old := p.takeOverLocked(time.Now())
	p.mu.Unlock()
	p.shutAll(old)
}

// takeOverLocked takes the idle connections whose time is over.
func (p *Pool) takeOverLocked(now time.Time) []*Conn {
	old := p.takeIdleLocked(func(c *Conn) bool { return p.overLocked(c, now) })
	p.counts.closedForAge += int64(len(old))
	return old
}

// takeLongIdleLocked takes the connections above the floor that have been idle for that long.
func (p *Pool) takeLongIdleLocked(now time.Time, idle time.Duration) []*Conn {
	spare := p.totalLocked() - p.closing - p.config.MinIdle
	old := p.takeIdleLocked(func(c *Conn) bool {
		if spare <= 0 || now.Sub(c.since) < idle {
			return false
		}
		spare--
		return true
	})
	p.counts.closedForIdle += int64(len(old))
	return old
}

// reapLaterLocked arranges the next look at idle connections.
func (p *Pool) reapLaterLocked() {
	if !p.reaping && !p.closed && p.config.CheckPeriod > 0 {
		p.reaping = true
		p.reaper.Reset(p.checkPeriodLocked())
	}
}

// leastPeriod bounds how often the pool looks for connections that are older than RetireOlder says.
const leastPeriod = time.Second

func (p *Pool) checkPeriodLocked() time.Duration {
	if p.maxAge == 0 {
		return p.config.CheckPeriod
	}
	return min(p.config.CheckPeriod, max(p.maxAge, leastPeriod))
}

// reap closes idle connections whose time is over, and those that the server has closed. It also
// fills up the floor.
func (p *Pool) reap() {
	now := time.Now()
	p.mu.Lock()
	p.reaping = false
	if p.closed {
		p.mu.Unlock()
		return
	}
	old := p.takeOverLocked(now)
	if p.config.MaxIdleTime > 0 {
		old = append(old, p.takeLongIdleLocked(now, p.config.MaxIdleTime)...)
	}
	old = append(old, p.takeIdleLocked(func(c *Conn) bool { return c.Server.Ended(health.Trusted) })...)
	p.dialLocked()
	if p.countIdleLocked() > 0 || p.totalLocked() < p.config.MinIdle {
		p.reapLaterLocked()
	}
	p.mu.Unlock()
	p.shutAll(old)
}
