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

// Limits is called when database/sql closes a handle that was made at born and is idle since unused, zero for never. It
// returns the limits that the application has set on its *sql.DB, from one second on, as far as that shows them: the age
// of connections, and their time of idleness. Zero is none.
//
// With SetConnMaxLifetime(d) database/sql closes handles that are older than d. From the first one on, connections close
// within 2d, or when they come back. A handle that is used again at a greater age lifts that limit: d was raised. Nothing
// is learned while database/sql closes all handles before that age, because it keeps few idle (SetMaxIdleConns).
//
// With SetConnMaxIdleTime(d) it closes handles that were idle for d. Connections that were idle as long go with them.
func (s *Ages) Limits(born, unused time.Time) (older, idle time.Duration) {
	now := time.Now()
	age := now.Sub(born)
	if age < LeastLimit {
		return 0, 0
	}
	why := WhyClosed()
	if s.Closed(age, why) {
		older = age
	}
	if d := now.Sub(unused); why == ByCleaner && !unused.IsZero() && d >= LeastLimit {
		idle = d
	}
	return older, idle
}
