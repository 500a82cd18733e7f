package pgsafe

import (
	"sync/atomic"
	"time"
)

// handles is what the lives of a Connector's handles show: which methods database/sql reaches, and
// which limits the application has set on its *sql.DB.
type handles struct {
	validator validator
	oldest    atomic.Int64 // the age of the oldest handle that was used again, in this window or the last
	window    atomic.Int64 // when this window began, in Unix nanoseconds
	before    atomic.Int64 // the oldest of the last window
	limit     atomic.Int64 // the age at which connections are retired, zero for none
}

// validator is whether database/sql reaches Conn.IsValid. Layers that wrap a driver.Conn may hide
// it. A handle then keeps its connection while database/sql keeps the handle idle, so it has to let
// go by itself.
type validator struct{ state atomic.Uint32 }

const (
	validatorUnknown uint32 = iota
	validatorSeen
	validatorHidden
)

// see notes that IsValid was called.
func (v *validator) see() {
	if v.state.Load() != validatorSeen {
		v.state.Store(validatorSeen)
	}
}

// hide notes that IsValid should have been called and was not.
func (v *validator) hide() { v.state.CompareAndSwap(validatorUnknown, validatorHidden) }

func (v *validator) seen() bool { return v.state.Load() == validatorSeen }

// settle lets go of the connection after a statement where database/sql does not say when it gets
// the handle back. A connection that is clean can be exchanged for another one. One with session
// state stays, for the *sql.Conn that may have made it.
func (h *Conn) settle() {
	v := &h.connector.handles.validator
	if v.seen() || h.pooled == nil || h.inTx || h.isRaw || h.rows.isOpen() {
		return
	}
	if (v.state.Load() == validatorHidden || h.connector.pool.Waiting()) && h.server.IsClean() {
		h.unbind()
		h.inherits = nil
	}
}

// isStranded reports whether the handle still has a dead connection of an earlier user, because
// IsValid is hidden.
func (h *Conn) isStranded() bool {
	return !h.connector.handles.validator.seen() && !h.inTx && h.server.Closed()
}

// handleWindow is for how long the age of a handle that was used again counts. A limit that the
// application lowers is noticed within twice that time.
const handleWindow = time.Minute

// leastLimit is the shortest limit that is honoured. database/sql looks for idle connections that
// are too old once a second at most (DB.connectionCleaner).
const leastLimit = time.Second

// limitSlack is how much older than the limit a handle may be when it is used again, since
// database/sql has looked at its age before.
const limitSlack = 100 * time.Millisecond

// reused notes that database/sql has used a handle of that age again: the application's limit is
// above it. It reports whether that shows that the limit is not the one that was learned.
func (s *handles) reused(age time.Duration) (refuted bool) {
	now := time.Now().UnixNano()
	if began := s.window.Load(); now-began > int64(handleWindow) && s.window.CompareAndSwap(began, now) {
		s.before.Store(s.oldest.Swap(0))
	}
	for old := s.oldest.Load(); int64(age) > old && !s.oldest.CompareAndSwap(old, int64(age)); old = s.oldest.Load() {
	}
	limit := s.limit.Load()
	return limit > 0 && int64(age) > limit+int64(limitSlack) && s.limit.CompareAndSwap(limit, 0)
}

// outlived reports whether a handle of that age can have been closed for its age: no older one was
// used again.
func (s *handles) outlived(age time.Duration) bool {
	return int64(age) > max(s.oldest.Load(), s.before.Load())
}

// learn notes that database/sql has closed a handle for that age. It reports whether that lowers
// the limit.
func (s *handles) learn(age time.Duration) bool {
	limit := s.limit.Load()
	return (limit == 0 || int64(age) < limit) && s.limit.CompareAndSwap(limit, int64(age))
}

// reused notes that database/sql uses a handle again.
func (c *Connector) reused(h *Conn) {
	if c.handles.reused(time.Since(h.born)) {
		c.pool.RetireOlder(0)
	}
}

// retire carries out the limits that the application has set on its *sql.DB, from one second on.
//
// With SetConnMaxLifetime(d) database/sql closes handles that are older than d. From the first one
// on, connections close within 2d, or when they come back. A handle that is used again at a greater
// age lifts that limit: d was raised. Nothing is learned while database/sql closes all handles
// before that age, because it keeps few idle (SetMaxIdleConns), or as they come back.
//
// With SetConnMaxIdleTime(d) it closes handles that were idle for d. Connections that were idle as
// long go with them.
func (c *Connector) retire(h *Conn) {
	now := time.Now()
	age := now.Sub(h.born)
	if age < leastLimit {
		return
	}
	why := whyClosed()
	tooOld := why == closedAtCheckout || why == closedByCleaner && c.handles.outlived(age)
	if tooOld && c.handles.learn(age) {
		c.pool.RetireOlder(age)
	}
	if why != closedByCleaner || h.unused.IsZero() {
		return
	}
	if idle := now.Sub(h.unused); idle >= leastLimit {
		c.pool.RetireIdle(idle)
	}
}
