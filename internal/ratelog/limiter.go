// Package ratelog limits the rate of log records about events that come in storms.
package ratelog

import (
	"sync/atomic"
	"time"
)

// Interval is the time between two records of one Limiter.
const Interval = 10 * time.Second

// A Limiter allows at most one record per Interval and counts those that it refused. The zero value
// is ready to use. It is safe for concurrent use.
type Limiter struct {
	next    atomic.Int64 // when the next record is allowed, in Unix nanoseconds
	skipped atomic.Int64
}

// Allow reports whether a record may be written at the time now. If so, skipped is the number of
// records that were refused since the last one.
func (l *Limiter) Allow(now time.Time) (skipped int64, ok bool) {
	next := l.next.Load()
	if now.UnixNano() < next || !l.next.CompareAndSwap(next, now.Add(Interval).UnixNano()) {
		l.skipped.Add(1)
		return 0, false
	}
	return l.skipped.Swap(0), true
}
