package pgsafe

import (
	"sync/atomic"
	"time"
)

// handles is what the lives of a Connector's handles show.
type handles struct {
	uses   uses
	oldest atomic.Int64 // the age of the oldest handle that was used again, in this window or the last
	window atomic.Int64 // when this window began, in Unix nanoseconds
	before atomic.Int64 // the oldest of the last window
}

// handleWindow is for how long the age of a handle that was used again counts. A limit that the application lowers is
// noticed within twice that time.
const handleWindow = time.Minute

// leastLimit is the shortest limit that is honoured. database/sql looks for idle connections that are too old once a
// second at most (DB.connectionCleaner).
const leastLimit = time.Second

// reused notes that database/sql has used a handle of that age again: the application's limit is above it.
func (s *handles) reused(age time.Duration) {
	now := time.Now().UnixNano()
	if began := s.window.Load(); now-began > int64(handleWindow) && s.window.CompareAndSwap(began, now) {
		s.before.Store(s.oldest.Swap(0))
	}
	for old := s.oldest.Load(); int64(age) > old && !s.oldest.CompareAndSwap(old, int64(age)); old = s.oldest.Load() {
	}
}

// outlived reports whether a handle of that age was closed for its age, as far as can be known: an older one was not
// used again. database/sql also closes handles that it has no room for, and says no reason.
func (s *handles) outlived(age time.Duration) bool {
	return age >= leastLimit && int64(age) > max(s.oldest.Load(), s.before.Load())
}

// retire carries out the limits that the application has set on its *sql.DB. With SetConnMaxLifetime(d) database/sql
// closes handles that are older than d. Connections that are older than such a handle go with it, so that none becomes
// older than twice d. With SetConnMaxIdleTime(d) it closes handles that were idle for d. Connections that were idle as
// long go with them.
func (c *Connector) retire(h *Conn) {
	now := time.Now()
	if age := now.Sub(h.born); c.handles.outlived(age) {
		c.pool.RetireOlder(age)
	}
	if h.unused.IsZero() {
		return
	}
	if idle := now.Sub(h.unused); idle >= leastLimit {
		c.pool.RetireIdle(idle)
	}
}
