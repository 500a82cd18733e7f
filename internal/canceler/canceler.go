// Package canceler keeps a connection whose statement's context is done: it asks the server to
// cancel the statement instead of closing the connection. After such a request the connection is
// fenced until Clear has made sure that the next statement cannot be hit in the cancelled one's
// place.
package canceler

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/pgsafe/pgsafe/internal/wire"
)

// DefaultTimeout is how long a server has to end a statement whose context is done.
const DefaultTimeout = time.Second

// A cancel request is a connection for which the server forks a process before it knows what it
// is for (postmaster.c, BackendStartup), so a burst of timeouts must not double the load that
// caused it. Requests therefore take turns. A request passes its turn on when the server has
// dealt with it, or after turnTime: then it waits for the network, not for the server, or the
// server is so loaded that 80 requests a second are little beside its load. A nearby server takes
// 1 to 5 ms.
const (
	turns    = 4
	turnTime = 50 * time.Millisecond
)

// queueTimeouts is how many timeouts a request may wait for its turn: with the default, 240
// requests get theirs even over a slow network, which is more than the connections of a pool.
// Beyond that its connection is closed.
const queueTimeouts = 3

// Canceler ends statements whose context is done, for the connections of one pool, and keeps the
// connections. It asks the server to cancel the statement, which then ends with SQLSTATE 57014. A
// connection is closed, as pgx would at once, only if its statement has no answer in time or if
// the request cannot be delivered.
//
// A statement has the timeout to end once the server has dealt with the request. The request,
// from its turn on, has the timeout too, and as long as the connection's login took: a login goes
// over the same network and takes more round trips, so a slow network costs no connection. That
// is at most two timeouts, because a login may be slow for other reasons. For its turn a request
// waits up to three timeouts. So a statement returns within seven timeouts after its context's
// end; if a nearby server does not answer at all, after one.
type Canceler struct {
	// OnRequest is called after each request, with the reason if the server did not deal with it in
	// time: then the connection is closed. Set it before the first statement. It must not block.
	OnRequest func(error)

	timeout time.Duration
	turns   chan struct{}

	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu      sync.Mutex // guards closed, and that nothing is added to running after it
	closed  bool
	running sync.WaitGroup
}

// New returns a Canceler that gives the server timeout to end a statement.
func New(timeout time.Duration) *Canceler {
	c := &Canceler{timeout: timeout, turns: make(chan struct{}, turns)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Close ends the requests under way and waits for them. A statement whose context ends later
// loses its connection at once.
func (c *Canceler) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
}

func (c *Canceler) tell(err error) {
	if c.OnRequest != nil {
		c.OnRequest(err)
	}
}

// enter reports whether a request may still begin. The caller then owes running a Done.
func (c *Canceler) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running.Add(1)
	return true
}

// errNoTurn is why a request was not sent.
var errNoTurn = errors.New("too many cancel requests were under way")

// turn waits for a request's turn and returns what ends it. It returns nil if the statement is over
// before.
func (c *Canceler) turn(over <-chan struct{}) (pass func(), err error) {
	late := time.NewTimer(queueTimeouts * c.timeout)
	defer late.Stop()
	select {
	case c.turns <- struct{}{}:
	case <-over:
		return nil, nil
	case <-late.C:
		return nil, errNoTurn
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
	end := func() { <-c.turns }
	select {
	case <-over: // both came at once
		end()
		return nil, nil
	default:
	}
	early := time.AfterFunc(turnTime, end)
	return func() {
		if early.Stop() {
			end()
		}
	}, nil
}

// Watch gives the connection that config is for a Handler, which HandlerOf finds. It needs
// wire.Watch to be called for config too, and must be called just before the connection is made.
// config must not be used for a second connection.
//
// A connection gets no Handler if the application has its own way of cancelling: what pgx does by
// default is known by its type (pgconn.ParseConfigWithOptions).
func (c *Canceler) Watch(config *pgconn.Config) {
	began := time.Now()
	given := config.BuildContextWatcherHandler
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		theirs := given(conn)
		w := wire.Of(conn)
		if d, ok := theirs.(*pgconn.DeadlineContextWatcherHandler); !ok || d.DeadlineDelay != 0 || w == nil {
			return theirs
		}
		h := &Handler{canceler: c, conn: conn, wire: w, patience: c.timeout + min(time.Since(began), 2*c.timeout)}
		conn.CustomData()[key] = h
		return h
	}
}

// key is where a Handler hangs on its connection (pgconn.PgConn.CustomData).
const key = "github.com/pgsafe/pgsafe/internal/canceler.Handler"

// HandlerOf returns the Handler of conn, nil if it has none. A nil Handler is never fenced.
func HandlerOf(conn *pgconn.PgConn) *Handler {
	h, _ := conn.CustomData()[key].(*Handler)
	return h
}
