// Package pool hands out connections to servers. There is one cap, one list of idle connections and
// one queue of waiters. It knows nothing of SQL: a connection is anything that implements Server.
//
// An idle connection goes to the next caller, the most recently used one first. A caller that finds
// none waits in the queue, first come, first served. A released connection goes straight to the
// longest waiter, unchecked, because it was in use a moment ago.
package pool

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgsafe/pgsafe/internal/background"
	"github.com/pgsafe/pgsafe/internal/health"
)

// Server is one connection to a server. The pool calls its methods one at a time, except Abort. No
// method may call the pool.
type Server interface {
	// Fit reports whether the connection can be handed out after it was idle for that long. It may
	// ask the server, within ctx. If ctx ends first, nothing is known and Fit reports true.
	Fit(ctx context.Context, idle time.Duration, trust health.Trust) bool

	// State returns what the last user left. It does not block.
	State() health.State

	// Reset undoes what the last user left in the server's session. ctx ends after five seconds, or
	// with the pool.
	Reset(ctx context.Context) error

	// Close ends the connection. It may take seconds on a broken network.
	Close()

	// Closed reports whether the connection is closed already, so that Close does not block.
	Closed() bool

	// Ended reports whether the server has closed an idle connection. If the connection is suspect,
	// anything that the server has sent unasked counts as its last words. Ended does not block.
	Ended(trust health.Trust) bool

	// Abort cuts the connection off under its user, unless the server is at work for that user. It
	// reports whether it did. It may be called at any time, and does not block.
	Abort() bool

	// Expires returns when the connection has to be replaced, whatever the pool's lifetime is. Zero
	// means never.
	Expires() time.Time
}

// Config is what a Pool is made of. Dial and Patience are required. Every other field may be zero: a
// Config of those two makes a pool without a cap that keeps each connection for ever. The pool calls
// the functions from many goroutines. Patience must not block, nor call the pool.
type Config struct {
	// Dial opens one connection. Its context ends when the pool does not need the connection any
	// more. A connection that Dial returns in spite of that is not lost.
	Dial func(ctx context.Context, why Dial) (Server, error)

	// Patience returns how long after the caller began to wait a failure to dial may be tried
	// again. Zero means that the failure lasts.
	Patience func(err error) time.Duration

	// OnRelease is called with the time for which a connection was in use. nil means no call.
	OnRelease func(used time.Duration)

	// OnRenew is called after a generation of connections has ended. nil means no call.
	OnRenew func()

	// OnReconnect is called when a dial succeeds after a failure that passes. nil means no call.
	OnReconnect func()

	Max            int           // the cap on connections, zero for none
	MinIdle        int           // how many connections, in use or idle, the pool keeps open
	AcquireTimeout time.Duration // bounds one wait, zero for no bound
	SlowDial       time.Duration // when a dial whose callers have all gone is replaced, zero for never
	MaxLifetime    time.Duration // zero for no bound
	LifetimeJitter time.Duration // the upper bound of a random time added to each MaxLifetime
	MaxIdleTime    time.Duration // zero for no bound; needs CheckPeriod

	// CheckPeriod is the time between two looks at idle connections. Zero means that the pool never
	// looks: it then notices the end of a connection only when a caller is about to get it.
	CheckPeriod time.Duration
}

// Conn is one connection of a Pool. Its fields other than Server belong to the pool.
type Conn struct {
	Server Server

	generation uint64
	born       time.Time
	expires    time.Time // zero for never
	proven     bool      // the server has answered a user; written by the present user
	inReset    bool

	waited    time.Duration // by the present user
	waitedFor Wait

	affinity   *Affinity // of the present user; of an idle connection, of the last user
	note       note
	list       *list     // nil once it is discarded
	since      time.Time // when it came into its list
	prev, next *Conn
}

// Pool is made by New. It is safe for concurrent use.
type Pool struct {
	config   Config
	work     *background.Group
	onWait   func()       // called by each caller that begins to wait, for tests; nil for no call
	acquired atomic.Int64 // calls of Acquire

	mu         sync.Mutex // guards all below; nothing blocks under it
	idle       list       // least recently used first; no Affinity wants them
	kept       list       // idle too: an Affinity wants them, the first in the list for longest
	used       list       // in longest use first
	resetting  int        // connections being reset; they are among the used
	closing    int        // connections being closed; they count against the cap
	queue      queue
	dials      dials
	history    history
	limit      int           // the cap, zero for none
	timeout    time.Duration // bounds one wait, zero for no bound
	warmers    []*warmer
	started    bool // there was a use: the floor is kept from then on
	closed     bool
	generation uint64
	suspectAt  time.Time     // when a connection was last lost
	losses     int           // connections lost in a row
	maxAge     time.Duration // zero for no bound beyond MaxLifetime: see RetireOlder
	reaper     *time.Timer
	reaping    bool        // the reaper's timer runs
	aborter    *time.Timer // fires some time after Close, while connections are in use
	counts     counts
}

// ErrClosed is the error of a Pool after Close.
var ErrClosed error = closedError{}

type closedError struct{}

// Error says so.
func (closedError) Error() string { return "the pool is closed" }

// Reason returns what package failure calls it.
func (closedError) Reason() string { return "closed" }

// New returns a Pool that has no connection yet.
func New(config Config) *Pool {
	p := &Pool{config: config, limit: config.Max, timeout: config.AcquireTimeout, work: background.New()}
	p.reaper = newStoppedTimer(p.reap)
	p.aborter = newStoppedTimer(p.abortRest)
	p.dials.retry = newStoppedTimer(p.retry)
	p.queue.expiry = newStoppedTimer(p.expire)
	return p
}

func newStoppedTimer(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// placeLocked hands a connection to the longest waiter, or keeps it idle.
func (p *Pool) placeLocked(c *Conn, now time.Time) {
	if w := p.queue.head; w != nil {
		why := c.waitedOnLocked()
		p.useLocked(c, w.text, w.affinity, now)
		c.waited, c.waitedFor = now.Sub(w.since), why
		p.endWaitLocked(w, c, nil, now)
		return
	}
	c.since = now
	p.moveLocked(c, p.listLocked(c))
	p.reapLaterLocked()
}

// useLocked moves a connection to its new user.
func (p *Pool) useLocked(c *Conn, text string, a *Affinity, now time.Time) {
	c.note.set(text)
	c.affinity = a
	c.waited, c.waitedFor, c.since = 0, NoWait, now
	p.moveLocked(c, &p.used)
}

// waitedOnLocked returns what a waiter has waited for that is about to get the connection.
func (c *Conn) waitedOnLocked() Wait {
	switch {
	case c.list == nil:
		return WaitDial
	case c.inReset:
		return WaitReset
	}
	return WaitPool
}

// moveLocked moves a connection from its list to the end of another. nil is no list.
func (p *Pool) moveLocked(c *Conn, to *list) {
	if c.list != nil {
		c.list.remove(c)
	}
	if c.inReset {
		c.inReset = false
		p.resetting--
	}
	if c.list = to; to != nil {
		to.push(c)
	}
}

// totalLocked counts the connections that are open, or that are being closed.
func (p *Pool) totalLocked() int { return p.openLocked() + p.closing }

// openLocked counts the connections that are open.
func (p *Pool) openLocked() int { return p.countIdleLocked() + p.used.n }
