package pgsafe

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The pool goes on making a connection whose caller has gone, so that one can be made at all where it takes longer than
// any caller waits (puddle, Pool.initResourceValue). database/sql knows nothing of that: its place counts as free
// (DB.conn), and the next caller may have another connection made. With callers who give up, a server that accepts and
// says nothing would get ever more of them, whatever SetMaxOpenConns says. So the next caller begins none while there is
// one that nobody waits for: it waits for that one.

// attempt is the making of one connection for a caller of the pool.
type attempt struct {
	caller    *caller
	begun     time.Time
	abandoned context.Context // ends with abandon
	abandon   context.CancelFunc

	taker *caller       // who else waits for it, or has; attempts.mu guards it
	over  chan struct{} // closed when it has succeeded or failed
	made  bool          // it has succeeded; set before over is closed
}

// caller is who acquires a connection of the pool.
type caller struct {
	ctx   context.Context
	takes bool     // it waits for one that is under way, and knows errTaken
	began bool     // it has begun to acquire
	now   *attempt // the one that it has under way: the pool makes one at a time for it (pgxpool, Pool.Acquire)
}

// attempts are those under way.
type attempts struct {
	lasting time.Duration // how old one may get before it is given up for who has taken it

	mu       sync.Mutex
	underWay map[*attempt]struct{}
}

// newAttempts has an attempt that was taken given up when half of its time is over: a connection that was lost on its way
// must not cost the next caller all of its own. connect_timeout is the time for one server (pgconn, connectPreferred), and
// the last one has to be reached.
func newAttempts(config *pgconn.Config) *attempts {
	timeout := cmp.Or(config.ConnectTimeout, defaultConnectTimeout)
	return &attempts{
		lasting:  time.Duration(serversOf(config)-1)*timeout + timeout/2,
		underWay: map[*attempt]struct{}{},
	}
}

// serversOf counts them. One that is tried with TLS and without is one.
func serversOf(config *pgconn.Config) int {
	type server struct {
		host string
		port uint16
	}
	servers := map[server]bool{{config.Host, config.Port}: true}
	for _, f := range config.Fallbacks {
		servers[server{f.Host, f.Port}] = true
	}
	return len(servers)
}

type callerKey struct{}

// calling makes the pool's constructor know who it works for: it has the values of the caller's context and another end
// (puddle, newValueCancelCtx).
func calling(ctx context.Context, c *caller) context.Context {
	c.ctx = ctx
	return context.WithValue(ctx, callerKey{}, c)
}

// acquiring is told when someone begins to acquire: connectOnce, or native code, whose context may come from a function
// that is called while a connection is made.
func acquiring(ctx context.Context) context.Context {
	if c := callerOf(ctx); c != nil && !c.began {
		c.began = true
		return ctx
	}
	return calling(ctx, &caller{began: true})
}

// callerOf returns nil where the pool works for itself.
func callerOf(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	return c
}

// errTaken sends a caller back to the pool: the connection that it has waited for is there by now.
var errTaken = errors.New("pgsafe: another connection is ready")

// handover is how long a connection takes to get into the pool after its AfterConnect, with a good margin.
const handover = 10 * time.Millisecond

// connectOnce takes a connection with connect, which acquires one of the pool. No more of them are under way at any time
// than there have been callers at once.
func connectOnce[T any](ctx context.Context, c *Connector, connect func(context.Context) (T, error)) (T, error) {
	for {
		conn, err := connect(calling(ctx, &caller{takes: true}))
		if !errors.Is(err, errTaken) {
			return conn, err
		}
		c.pause(ctx, handover) // if ctx or the Connector ends, the pool says so
	}
}

// begin enters the attempt that is made with ctx. An error means that there is none to be made.
func (as *attempts) begin(ctx context.Context) error {
	c := callerOf(ctx)
	if c == nil {
		return nil
	}
	for orphan := as.enter(c); orphan != nil; orphan = as.enter(c) {
		if err := as.await(ctx, c, orphan); err != nil {
			return err
		}
	}
	return nil
}

// enter takes an attempt that nobody waits for, or else enters a new one.
func (as *attempts) enter(c *caller) (orphan *attempt) {
	as.mu.Lock()
	defer as.mu.Unlock()
	for a := range as.underWay {
		if c.takes && a.forNobody() {
			a.taker = c
			return a
		}
	}
	a := &attempt{caller: c, begun: time.Now(), over: make(chan struct{})}
	a.abandoned, a.abandon = context.WithCancel(context.Background())
	c.now = a
	as.underWay[a] = struct{}{}
	return nil
}

// forNobody tells that all who have waited for the attempt have gone.
func (a *attempt) forNobody() bool {
	return a.caller.ctx.Err() != nil && (a.taker == nil || a.taker.ctx.Err() != nil)
}

// await waits for an attempt that was taken. It returns nil if that came to nothing.
func (as *attempts) await(ctx context.Context, c *caller, orphan *attempt) error {
	timer := time.NewTimer(time.Until(orphan.begun.Add(as.lasting)))
	defer timer.Stop()
	select {
	case <-orphan.over:
		if orphan.made {
			return errTaken
		}
		return nil
	case <-timer.C:
		as.giveUp(orphan)
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-ctx.Done(): // the pool closes
		return ctx.Err()
	}
}

// giveUp ends an attempt, unless it is over by now: its connection may be in use then.
func (as *attempts) giveUp(a *attempt) {
	as.mu.Lock()
	_, lasts := as.underWay[a]
	delete(as.underWay, a)
	as.mu.Unlock()
	if lasts {
		a.abandon()
	}
}

// succeeded and failed end the attempt that is made with ctx, if there is one.
func (as *attempts) succeeded(ctx context.Context) {
	if c := callerOf(ctx); c != nil {
		c.now.made = true
		as.end(c.now)
	}
}

func (as *attempts) failed(ctx context.Context) {
	if c := callerOf(ctx); c != nil {
		as.end(c.now)
	}
}

func (as *attempts) end(a *attempt) {
	as.mu.Lock()
	delete(as.underWay, a)
	a.caller, a.taker = nil, nil // the connection keeps a (see watch), and must not keep their contexts with it
	as.mu.Unlock()
	close(a.over)
}

// watch makes giveUp close the network connections that config's DialFunc makes for the attempt that is made with ctx.
// Those of cancel requests come later.
func (as *attempts) watch(ctx context.Context, config *pgconn.Config) {
	c := callerOf(ctx)
	if c == nil {
		return
	}
	a, dial := c.now, config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		select {
		case <-a.over:
			return dial(ctx, network, address)
		default:
			return a.dial(ctx, dial, network, address)
		}
	}
}

func (a *attempt) dial(ctx context.Context, dial pgconn.DialFunc, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.abandoned, cancel)()
	conn, err := dial(ctx, network, address)
	if err == nil {
		context.AfterFunc(a.abandoned, func() { _ = conn.Close() }) // it fails if pgconn has closed it
	}
	return conn, err
}
