// Package pool hands out connections to servers. There is one cap, one list of idle connections and one queue of
// waiters. It knows nothing of SQL: a connection is anything that implements Server.
//
// An idle connection goes to the next caller, the most recently used one first. A caller that finds none waits in
// the queue, first come, first served. A released connection goes straight to the longest waiter, unchecked, because
// it was in use a moment ago.
package pool

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgsafe/pgsafe/internal/background"
	"github.com/pgsafe/pgsafe/internal/health"
)

// Server is one connection to a server. The pool calls its methods one at a time, except Ended and Abort.
type Server interface {
	// Fit reports whether the connection can be handed out after it was idle for that long. It may ask the server,
	// within ctx. If ctx ends first, nothing is known and Fit reports true.
	Fit(ctx context.Context, idle time.Duration, trust health.Trust) bool

	// State says what the last user left. It does not block.
	State() health.State

	// Reset undoes what the last user left in the server's session.
	Reset(ctx context.Context) error

	// Close ends the connection. It may take seconds on a broken network.
	Close()

	// Closed reports whether the connection is closed already, so that Close has nothing left to do.
	Closed() bool

	// Ended looks whether the server has closed an idle connection. If it is suspect, anything that the server has
	// said unasked counts as its last words. It does not block. The pool calls it only while the connection is idle.
	Ended(trust health.Trust) bool

	// Abort cuts the connection off under its user, unless the server is at work for that user. It reports whether
	// it did. It may be called at any time.
	Abort() bool

	// Expires is when the connection has to be replaced, whatever the pool's lifetime says. Zero means never.
	Expires() time.Time
}

// Config is what a Pool is made of. Dial and Patience are required.
type Config struct {
	// Dial opens one connection.
	Dial func(ctx context.Context) (Server, error)

	// Patience is how long after the caller's first try a failure to dial may be tried again. Zero means that the
	// failure lasts.
	Patience func(err error) time.Duration

	// IsFull reports whether a failure to dial says that the server has no room. nil means never.
	IsFull func(err error) bool

	// OnRelease is called with the time for which a connection was in use. nil means no call.
	OnRelease func(used time.Duration)

	// OnWait is called before a caller begins to wait. nil means no call.
	OnWait func()

	// OnRenew is called after a generation of connections has ended. nil means no call.
	OnRenew func()

	// OnReconnect is called when a dial succeeds after one that failed. nil means no call.
	OnReconnect func()

	Max            int           // the cap on connections, zero for none
	MinIdle        int           // how many connections stay open when there is no use for them
	AcquireTimeout time.Duration // bounds one wait, zero for no bound
	SlowDial       time.Duration // after which a dial that all its callers have given up is replaced
	MaxLifetime    time.Duration // zero for no bound
	LifetimeJitter time.Duration // the upper bound of a random time added to each lifetime
	MaxIdleTime    time.Duration // zero for no bound
	CheckPeriod    time.Duration // the time between two looks at idle connections
}

// Conn is one connection of a Pool. Its fields other than Server belong to the pool.
type Conn struct {
	Server Server

	generation uint64
	born       time.Time
	expires    time.Time // zero for never
	proven     bool      // the server has answered a user; written by the present user
	inReset    bool

	waited time.Duration // by the present user

	note       note
	list       *list // nil once it is discarded
	since      time.Time
	prev, next *Conn
}

// Pool is made by New. It is safe for concurrent use.
type Pool struct {
	config Config
	work   *background.Group

	mu         sync.Mutex // guards all below; nothing blocks under it
	idle       list       // least recently used first
	used       list       // in longest use first
	resetting  int        // connections being reset; they are among the used
	closing    int        // connections being closed; they count against the cap
	queue      queue
	dials      dials
	warmers    []*warmer
	started    bool // there was a caller
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
var ErrClosed = errors.New("the pool is closed")

// New returns a Pool that has no connection yet.
func New(config Config) *Pool {
	p := &Pool{config: config, work: background.New()}
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

// Acquire returns a connection. text says what the caller is about to run, for the errors of others. The error is an
// *AcquireError if the wait was too long, ErrClosed, or the last failure to dial.
func (p *Pool) Acquire(ctx context.Context, text string) (*Conn, error) {
	for {
		c, w, err := p.takeOrQueue(text)
		switch {
		case err != nil:
			return nil, err
		case w != nil:
			return p.wait(ctx, w)
		case p.fit(ctx, c):
			return c, nil
		}
	}
}

// takeOrQueue returns an idle connection, or a place in the queue.
func (p *Pool) takeOrQueue(text string) (*Conn, *waiter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, ErrClosed
	}
	p.startLocked()
	p.counts.acquired++
	c := p.idle.tail
	if c == nil {
		w := p.queue.join(text)
		p.dialLocked()
		p.expireLocked()
		return nil, w, nil
	}
	p.useLocked(c, text)
	return c, nil, nil
}

// useLocked moves a connection to its new user. It keeps since, which fit needs.
func (p *Pool) useLocked(c *Conn, text string) {
	c.note.set(text)
	p.moveLocked(c, &p.used)
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

// fit reports whether a connection that was taken from the idle list can be used. It discards one that cannot.
func (p *Pool) fit(ctx context.Context, c *Conn) bool {
	now := time.Now()
	p.mu.Lock()
	idleSince := c.since
	c.since, c.waited = now, 0
	expired, trust := p.overLocked(c, now), health.Trusted
	if !idleSince.After(p.suspectAt) {
		trust = health.Suspect
	}
	p.mu.Unlock()
	switch {
	case expired:
		p.Discard(c)
		return false
	case c.Server.Fit(ctx, now.Sub(idleSince), trust):
		return true
	}
	p.lose(c, max(health.Unfit, c.Server.State()))
	return false
}

// Release gives a connection back.
func (p *Pool) Release(c *Conn) {
	switch state := c.Server.State(); state {
	case health.Clean:
		p.put(c)
	case health.Dirty:
		p.reset(c)
	default:
		p.lose(c, state)
	}
}

// Worked notes that the server has answered the connection's user. A connection that is lost before counts as a dial
// that failed.
func (c *Conn) Worked() { c.proven = true }

// put hands a connection that is clean to the longest waiter, or keeps it idle.
func (p *Pool) put(c *Conn) {
	now := time.Now()
	p.mu.Lock()
	used := now.Sub(c.since)
	c.proven = true
	keep := !p.closed && !p.overLocked(c, now)
	if keep {
		p.losses, p.dials.pause = 0, 0
		p.placeLocked(c, now)
	}
	p.mu.Unlock()
	if !keep {
		p.Discard(c)
		return
	}
	p.released(used)
}

func (p *Pool) released(used time.Duration) {
	if p.config.OnRelease != nil && used > 0 {
		p.config.OnRelease(used)
	}
}

// placeLocked hands a connection to the longest waiter, or keeps it idle.
func (p *Pool) placeLocked(c *Conn, now time.Time) {
	c.since = now
	if w := p.queue.pop(); w != nil {
		p.useLocked(c, w.text)
		c.waited = now.Sub(w.since)
		p.counts.waited(c.waited)
		w.give(c, nil)
		return
	}
	p.moveLocked(c, &p.idle)
	p.reapLaterLocked()
}

// resetTimeout bounds the reset of a connection, which is closed if it takes longer. It is what pgx's own driver
// allows a connection to close (stdlib.Conn.Close).
const resetTimeout = 5 * time.Second

// reset makes a dirty connection clean in the background. The connection counts as in use meanwhile.
func (p *Pool) reset(c *Conn) {
	c.note.set("a reset of the session")
	p.mu.Lock()
	c.inReset = true
	p.resetting++
	p.mu.Unlock()
	started := p.work.Go(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, resetTimeout)
		defer cancel()
		err := c.Server.Reset(ctx)
		if state := c.Server.State(); err != nil || state != health.Clean {
			p.lose(c, max(health.Unfit, state))
			return
		}
		p.put(c)
	})
	if !started {
		p.Discard(c)
	}
}

// Discard closes a connection. Its place is free once it is closed, so that the server never has more connections
// than the cap.
func (p *Pool) Discard(c *Conn) {
	p.mu.Lock()
	used := time.Duration(0)
	if c.list == &p.used {
		used = time.Since(c.since)
	}
	p.moveLocked(c, nil)
	p.closing++
	p.mu.Unlock()
	p.released(used)
	p.shut(c)
}

// shut closes a connection that is in no list. It does so in the background, unless that takes no time.
func (p *Pool) shut(c *Conn) {
	end := func(context.Context) {
		c.Server.Close()
		p.mu.Lock()
		p.closing--
		p.dialLocked()
		p.mu.Unlock()
	}
	if c.Server.Closed() || !p.work.Go(end) {
		end(context.Background())
	}
}

// totalLocked counts the connections that are open, or that are being closed.
func (p *Pool) totalLocked() int { return p.idle.n + p.used.n + p.closing }
