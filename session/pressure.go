package session

import (
	"runtime"
	"sync/atomic"
	"time"
	"weak"
)

// pool is what pgsafe's driver tells of its pool, and of texts.
type pool interface {
	// Waiting reports whether a caller waits for a connection that another caller has to release.
	Waiting() bool

	// OnAcquire has f called by each caller that begins to wait for a connection, until stop is called.
	OnAcquire(f func()) (stop func())

	// Leaves tells whether a text leaves something in the server's session.
	Leaves(text string) bool

	// Summary is how a text is called, without any of its literals.
	Summary(text string) string
}

// pressure remembers that somebody had to wait. Where handlers outnumber connections, every connection that is kept
// unused is soon wanted, and to take it back costs more than keeping it saves: so for a while none is kept but for a
// statement that comes at once (pace.go). Everybody asks, so no clock is read for it: a timer forgets, in steps.
type pressure struct{ level atomic.Int32 } // full when somebody has to wait, one less after each half of calm, 0 when it is over

const (
	// calm is how long nobody may have waited before connections are kept again.
	calm = 100 * time.Millisecond

	full = 3
)

func (p *pressure) note() {
	if p.level.Load() < full && p.level.Swap(full) == 0 {
		time.AfterFunc(calm/2, p.forget)
	}
}

// forget is called after each half of calm, until the level is 0.
func (p *pressure) forget() {
	if p.level.Add(-1) > 0 {
		time.AfterFunc(calm/2, p.forget)
	}
}

// seen tells whether somebody had to wait.
func (p *pressure) seen() bool { return p.level.Load() > 0 }

// start is what times are counted from.
var start = time.Now()

// now is the time since start, by the monotonic clock.
func now() time.Duration { return time.Since(start) }

// pressed tells whether somebody waits for a connection, or did a moment ago. That is looked at anew before it is
// forgotten: under a load that goes on it stays so in between.
func (db *DB) pressed() bool {
	if db.holds.pressure.level.Load() > 1 {
		return true
	}
	if db.awaited() {
		db.holds.pressure.note()
		return true
	}
	return db.holds.pressure.seen()
}

// awaited tells whether somebody waits for a connection. Of callers who wait, database/sql tells nothing: that all
// connections are in use is what there is to see.
func (db *DB) awaited() bool {
	if db.pool != nil && db.pool.Waiting() {
		return true
	}
	s := db.sql.Stats()
	return s.MaxOpenConnections > 0 && s.InUse >= s.MaxOpenConnections
}

// yieldToWaiters gives an unused connection back whenever somebody begins to wait for one, for as long as the handle is
// in use: there is no Close.
func (db *DB) yieldToWaiters() {
	pool, ref := db.pool, weak.Make(db.holds)
	stop := pool.OnAcquire(func() {
		if h := ref.Value(); h != nil && !h.empty() && pool.Waiting() {
			h.pressure.note()
			h.sweep()
		}
	})
	runtime.AddCleanup(db.holds, func(stop func()) { stop() }, stop)
}
