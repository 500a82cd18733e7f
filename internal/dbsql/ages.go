package dbsql

import (
	"sync/atomic"
	"time"
)

// Ages shows the application's limit on the age of handles. The zero value knows nothing.
type Ages struct {
	oldest atomic.Int64 // the age of the oldest handle that was used again, in this window or the last
	window atomic.Int64 // when this window began, in Unix nanoseconds
	before atomic.Int64 // the oldest of the last window
}

// ageWindow is for how long the age of a handle that was used again counts. A limit that the application lowers is
// noticed within twice that time.
const ageWindow = time.Minute

// LeastLimit is the shortest limit that is honoured. database/sql looks for idle connections that are too old once a
// second at most (DB.connectionCleaner).
const LeastLimit = time.Second

// Reused notes that database/sql has used a handle of that age again: the application's limit is above it.
func (s *Ages) Reused(age time.Duration) {
	now := time.Now().UnixNano()
	if began := s.window.Load(); now-began > int64(ageWindow) && s.window.CompareAndSwap(began, now) {
		s.before.Store(s.oldest.Swap(0))
	}
	for old := s.oldest.Load(); int64(age) > old && !s.oldest.CompareAndSwap(old, int64(age)); old = s.oldest.Load() {
	}
}

// Outlived reports whether a handle of that age was closed for its age, as far as can be known: an older one was not
// used again. database/sql also closes handles that it has no room for, and says no reason.
func (s *Ages) Outlived(age time.Duration) bool {
	return age >= LeastLimit && int64(age) > max(s.oldest.Load(), s.before.Load())
}
