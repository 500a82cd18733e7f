package session

import (
	"runtime"
	"sync/atomic"
	"time"
	"weak"
)

// pool is what pgsafe's driver tells of its pool, and of texts.
type pool interface {
	// Waiting reports whether somebody waits for a connection, all being in use.
	Waiting() bool

	// OnAcquire has f called whenever somebody is about to take a connection, until stop is called.
	OnAcquire(f func()) (stop func())

	// Leaves tells whether a text leaves something in the server's session.
	Leaves(text string) bool

	// TellsRows tells whether contexts that have the methods of rowsContext are told of the rows of their query.
	TellsRows() bool

	// Summary is how a text is called, without any of its literals.
	Summary(text string) string
}

// pressure remembers when somebody last had to wait. Where handlers outnumber connections, every connection that is kept
// unused is soon wanted, and to take it back costs more than keeping it saves: so for a while none is kept but for a
// statement that comes at once (pace.go).
type pressure struct{ seen atomic.Int64 } // nanoseconds since start, 0 for never

// calm is how long nobody may have waited before connections are kept again.
const calm = 100 * time.Millisecond

// start is what times are counted from.
var start = time.Now()

// now is the time since start, by the monotonic clock.
func now() time.Duration { return time.Since(start) }

func (p *pressure) note() { p.seen.Store(int64(now())) }

// age is how long ago somebody had to wait.
func (p *pressure) age() time.Duration {
	seen := p.seen.Load()
	if seen == 0 {
		return calm
	}
	return now() - time.Duration(seen)
}

// pressed tells whether somebody waits for a connection, or did a moment ago. That is looked at anew before it is
// forgotten: under a load that goes on it stays so in between.
func (db *DB) pressed() bool {
	age := db.holds.pressure.age()
	if age < calm/2 {
		return true
	}
	if db.awaited() {
		db.holds.pressure.note()
		return true
	}
	return age < calm
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
