package dbsql

import (
	"sync/atomic"
	"time"
)

// Ages shows the application's limit on the age of handles (SetConnMaxLifetime). The zero value knows nothing.
type Ages struct {
	oldest atomic.Int64 // the age of the oldest handle that was used again, in this window or the last
	window atomic.Int64 // when this window began, in Unix nanoseconds
	before atomic.Int64 // the oldest of the last window
	limit  atomic.Int64 // the limit that was learned, zero for none
}

// ageWindow is for how long the age of a handle that was used again counts. A limit that the application lowers is
// noticed within twice that time.
const ageWindow = time.Minute

// LeastLimit is the shortest limit that is honoured. database/sql looks for idle connections that are too old once a
// second at most (DB.connectionCleaner).
const LeastLimit = time.Second

// slack is how much older than the limit a handle may be when it is used again, since database/sql has looked at its
// age before.
const slack = 100 * time.Millisecond

// Reused notes that database/sql has used a handle of that age again: the application's limit is above it. It reports
// whether that refutes the limit that was learned.
func (s *Ages) Reused(age time.Duration) (refuted bool) {
	now := time.Now().UnixNano()
	if began := s.window.Load(); now-began > int64(ageWindow) && s.window.CompareAndSwap(began, now) {
		s.before.Store(s.oldest.Swap(0))
	}
	for old := s.oldest.Load(); int64(age) > old && !s.oldest.CompareAndSwap(old, int64(age)); old = s.oldest.Load() {
	}
	limit := s.limit.Load()
	return limit > 0 && int64(age) > limit+int64(slack) && s.limit.CompareAndSwap(limit, 0)
}

// Closed notes that database/sql has closed a handle of that age. It reports whether that shows a limit, or a lower one.
// Its cleaner also closes handles that were idle for too long: they count if no older one was used again.
func (s *Ages) Closed(age time.Duration, why Closing) (learned bool) {
	oldest := max(s.oldest.Load(), s.before.Load())
	if age < LeastLimit || why == Otherwise || why == ByCleaner && int64(age) <= oldest {
		return false
	}
	limit := s.limit.Load()
	return (limit == 0 || int64(age) < limit) && s.limit.CompareAndSwap(limit, int64(age))
}
