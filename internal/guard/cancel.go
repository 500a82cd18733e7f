package guard

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// DefaultCancelTimeout is how long a server has to end a statement whose context is done.
const DefaultCancelTimeout = time.Second

// cancelsAtOnce is how many cancel requests a Canceler has under way. Each is a connection of its own, for which the
// server forks a process before it knows what it is for (postmaster.c, BackendStartup), so a burst of timeouts must
// not double the load that caused it. The others wait their turn, within their time. On two cores BenchmarkCancelStorm
// does a tenth more with 4 than with 3, 8 or 16.
const cancelsAtOnce = 4

// Canceler ends statements whose context is done, for the connections of one pool, and keeps the connections. It asks
// the server to cancel the statement, which then ends with SQLSTATE 57014. A connection is closed, as pgx would at
// once, only if its statement has no answer when the timeout is over or if the request cannot be delivered.
type Canceler struct {
	// OnRequest is called after each request, with the reason if the server did not take it in time: the connection is
	// closed then. Set it before the first statement. It must not block.
	OnRequest func(error)

	timeout time.Duration
	turns   chan struct{}

	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu      sync.Mutex // guards closed, and that nothing is added to running after it
	closed  bool
	running sync.WaitGroup
}

// NewCanceler returns a Canceler that gives the server timeout, counted from the end of a statement's context.
func NewCanceler(timeout time.Duration) *Canceler {
	c := &Canceler{timeout: timeout, turns: make(chan struct{}, cancelsAtOnce)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Close ends the requests under way and waits for them. A statement whose context ends later loses its connection at
// once.
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

// Watch gives the connection that config is for a Handler, which HandlerOf finds, unless the application has its own way
// of cancelling: what pgx does by default is known by its type (pgconn.ParseConfigWithOptions). config must not be used
// for a second connection.
func (c *Canceler) Watch(config *pgconn.Config) {
	t := &traffic{}
	watchTraffic(config, t)
	given := config.BuildContextWatcherHandler
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		theirs := given(conn)
		if d, ok := theirs.(*pgconn.DeadlineContextWatcherHandler); !ok || d.DeadlineDelay != 0 {
			return theirs
		}
		h := &Handler{canceler: c, conn: conn, traffic: t}
		conn.CustomData()[handlerKey] = h
		return h
	}
}

// handlerKey is where a Handler hangs on its connection (pgconn.PgConn.CustomData).
const handlerKey = "github.com/pgsafe/pgsafe/internal/guard.Handler"

// HandlerOf returns the Handler of conn, nil if it has none. A nil Handler is never fenced.
func HandlerOf(conn *pgconn.PgConn) *Handler {
	h, _ := conn.CustomData()[handlerKey].(*Handler)
	return h
}

// Handler cancels the statements of one connection.
type Handler struct {
	canceler *Canceler
	conn     *pgconn.PgConn
	traffic  *traffic
	fence    atomic.Uint32 // fenceDown, fenceUp or fenceBroken
}

var _ ctxwatch.Handler = (*Handler)(nil)

// HandleCancel has the statement cancelled, if one runs. It is safe for concurrent use. ctxwatch, or a session that watches its
// queries itself (ctxrows), calls it in a goroutine of its own, and lets go of the statement only when it has returned
// (ContextWatcher.Unwatch): whoever runs the statement returns when it has its answer and
// the server has dealt with the request, or when the time is over.
func (h *Handler) HandleCancel(ctx context.Context) {
	if grace, ok := ctx.Value(graceKey{}).(time.Duration); ok {
		h.closeAfter(grace)
		return
	}
	if !h.traffic.isOwed() || !h.canceler.enter() {
		h.closeAfter(0)
		return
	}
	defer h.canceler.running.Done()
	h.closeAfter(h.canceler.timeout)
	h.request()
}

// request sends a cancel request when it is this connection's turn, and waits for the server to close the request's
// connection: by then it has sent its signal to the process that runs the statement (postmaster.c, processCancelRequest),
// so that none is on its way any more.
func (h *Handler) request() {
	ctx, cancel := context.WithTimeout(h.canceler.ctx, h.canceler.timeout)
	defer cancel()
	select {
	case h.canceler.turns <- struct{}{}:
		defer func() { <-h.canceler.turns }()
	case <-ctx.Done():
		h.canceler.tell(ctx.Err())
		return
	}
	h.fence.CompareAndSwap(fenceDown, fenceUp) // another request, of the same statement, may have broken it
	var err error
	select {
	case err = <-h.send():
	case <-ctx.Done():
	}
	switch {
	case ctx.Err() != nil:
		h.fence.Store(fenceBroken) // it may be delivered at any time from now on
		err = ctx.Err()
	case err != nil:
		h.closeAfter(0)
	}
	h.canceler.tell(err)
}

// requestPatience is how long a request's connection stays open when nobody waits any more for the server to close it: what
// pgx gives its own (pgconn, PgConn.asyncClose), and longer than PgBouncer has a request wait (cancel_wait_timeout, ten
// seconds).
const requestPatience = 15 * time.Second

// send sends a cancel request, and tells when the server has closed its connection. That is left to the server, even if
// nobody waits for it any more: PgBouncer 1.18 crashes if a request's connection is closed while it is passed on
// (pgbouncer issue 801). pgconn encrypts the request if the connection is.
func (h *Handler) send() <-chan error {
	answered := make(chan error, 1)
	h.canceler.running.Go(func() {
		ctx, cancel := context.WithTimeout(h.canceler.ctx, h.canceler.timeout+requestPatience)
		defer cancel()
		answered <- h.conn.CancelRequest(ctx)
	})
	return answered
}

// closeAfter makes reading and writing fail then, upon which pgconn closes the connection (asyncClose), unless it was only
// waiting for a notification.
func (h *Handler) closeAfter(d time.Duration) {
	_ = h.conn.Conn().SetDeadline(time.Now().Add(d)) // it fails on a closed connection, which has no use for it
}

// HandleUnwatchAfterCancel is called when the statement is over, before its error is handed out. A connection that was
// closed for its lack of an answer is left alone: pgconn says goodbye on it, within a deadline of its own (asyncClose).
func (h *Handler) HandleUnwatchAfterCancel() {
	if !h.conn.IsClosed() {
		_ = h.conn.Conn().SetDeadline(time.Time{}) // as above
	}
}

type graceKey struct{}

// Patient returns a context with which no cancel request is sent. When ctx is done the server has grace left to answer,
// then the connection is closed. It is for COMMIT above all: a request that hits it while it waits for a standby
// makes the server give up that wait and report success (syncrep.c, SyncRepWaitForLSN).
func Patient(ctx context.Context, grace time.Duration) context.Context {
	return context.WithValue(ctx, graceKey{}, grace)
}

// Owed and Cause: see package canceler.
func (h *Handler) Owed() bool { return h != nil && h.traffic.owed.Load() }

// Cause is nil.
func (h *Handler) Cause() error { return nil }
