package pool

import (
	"cmp"
	"time"
)

// waitUnderLimit bounds a wait for a connection under a limit that LimitTo has set, if the pool has
// no AcquireTimeout. A caller that waits for a connection which it holds itself would wait for ever.
const waitUnderLimit = 30 * time.Second

// LimitTo sets the cap to n, which must be above zero, from now on. Idle connections above it close,
// and connections in use when they come back. A lower cap of the Config stays.
func (p *Pool) LimitTo(n int) {
	p.mu.Lock()
	if p.config.Max > 0 {
		n = min(n, p.config.Max)
	}
	p.limit = n
	p.timeout = cmp.Or(p.config.AcquireTimeout, waitUnderLimit)
	above := p.openLocked() - n
	closing := p.takeIdleLocked(func(*Conn) bool {
		above--
		return above >= 0
	})
	p.dialLocked()
	p.mu.Unlock()
	p.shutAll(closing)
}

// aboveLimitLocked reports whether the pool has more connections than its cap allows, since LimitTo.
func (p *Pool) aboveLimitLocked() bool { return p.limit > 0 && p.totalLocked() > p.limit }
