package session

import (
	"sync/atomic"
	"time"
)

// pace remembers how soon the next statement of a session comes after one. Where somebody waits for a connection, to pass
// it on after each statement costs as much as a short statement itself. A handler that only goes from one statement to
// the next wants it back within microseconds; one that thinks, or speaks with somebody else, must not have it meanwhile.
type pace struct{ quickness atomic.Int64 } // nanoseconds that the mean gap is shorter than brief

const (
	// brief is how long a connection is kept under pressure at most for a statement that does not come.
	brief = 500 * time.Microsecond

	// briskGap is the mean gap up to which it is kept.
	briskGap = 50 * time.Microsecond

	// stint is how many statements a session may run on one connection under pressure, before others have a turn.
	stint = 16
)

// note counts a gap. One that is lost to another's does no harm.
func (p *pace) note(gap time.Duration) {
	quickness := p.quickness.Load()
	p.quickness.Store(quickness + (int64(max(0, brief-gap))-quickness)/16)
}

// brisk tells whether statements have followed one another at once lately. It does not take that for granted.
func (p *pace) brisk() bool { return p.quickness.Load() > int64(brief-briskGap) }
