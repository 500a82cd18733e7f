package canceler

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/pgsafe/pgsafe/internal/wire"
)

// Handler cancels the statements of one connection.
type Handler struct {
	canceler *Canceler
	conn     *pgconn.PgConn
	wire     *wire.Wire
	patience time.Duration // how long a request may take once it has its turn
	fence    atomic.Uint32 // fenceDown, fenceUp or fenceBroken

	mu      sync.Mutex
	ended   error    // of the context whose end was handled last
	request *request // of the present statement, nil if there is none
	cause   error
}

var _ ctxwatch.Handler = (*Handler)(nil)

// request is a request to cancel one statement.
type request struct {
	over chan struct{} // closed when the statement is over
	done chan struct{} // closed when the server has dealt with the request, or has not in time
}

// Cause returns the error of the context for which the last cancel request was sent, nil if none
// was sent since the connection was last cleared. So it belongs to a statement that ended with
// 57014 for which Clear has not been called since, also if others, such as a ROLLBACK, have run
// in between. It is safe for concurrent use.
func (h *Handler) Cause() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cause
}

// HandleCancel has the statement cancelled. ctxwatch calls it, in a goroutine of its own, when
// the statement's context is done, and afterwards HandleUnwatchAfterCancel. HandleCancel does not
// wait.
//
// pgconn watches a context from just before it writes the statement, and also while it waits for
// a notification and has asked for nothing (PgConn.WaitForNotification). What the server does not
// owe yet therefore ends the wait at once: reading fails, which leaves the connection as it is in
// that case (PgConn.peekMessage), and writing does not. If a statement is written after all, the
// request follows it.
func (h *Handler) HandleCancel(ctx context.Context) {
	if grace, ok := ctx.Value(graceKey{}).(time.Duration); ok {
		h.closeAfter(grace)
		return
	}
	h.mu.Lock() // held until the deadlines are set: sent moves them
	defer h.mu.Unlock()
	h.ended = ctx.Err()
	switch h.wire.OnSent(h.sent) {
	case wire.Owing:
		h.begin()
	case wire.Writing:
		h.closeAfter(h.canceler.timeout)
	case wire.Idle:
		now := time.Now()
		_ = h.conn.Conn().SetWriteDeadline(now.Add(h.canceler.timeout)) // as in closeAfter
		_ = h.conn.Conn().SetReadDeadline(now)
	}
}

// sent is called when the statement is on its way whose context had ended before.
func (h *Handler) sent() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begin()
}

// begin begins a cancel request. h.mu is held.
func (h *Handler) begin() {
	if !h.canceler.enter() {
		h.closeAfter(0)
		return
	}
	h.closeAfter(queueTimeouts*h.canceler.timeout + h.patience)
	h.request = &request{over: make(chan struct{}), done: make(chan struct{})}
	go h.cancel(h.request, h.ended)
}

// cancel sends a cancel request when it is its turn, and waits for the server to close the
// request's connection: by then the server has sent its signal to the process that runs the
// statement (postmaster.c, processCancelRequest), so that none is on its way any more.
func (h *Handler) cancel(r *request, cause error) {
	defer h.canceler.running.Done()
	defer close(r.done)
	pass, err := h.canceler.turn(r.over)
	if err != nil {
		h.closeAfter(0)
		h.canceler.tell(err)
	}
	if pass == nil {
		return
	}
	defer pass()

	h.mu.Lock()
	h.cause = cause
	h.mu.Unlock()
	h.fence.CompareAndSwap(fenceDown, fenceUp) // an earlier request may have broken it
	h.closeAfter(h.patience)
	err = h.await(h.send())
	if err == nil {
		h.closeAfter(h.canceler.timeout)
	} else {
		h.closeAfter(0)
	}
	h.canceler.tell(err)
}

// await waits for the server to deal with a request. The fence is broken if that may still happen
// at any time.
func (h *Handler) await(answered <-chan error) error {
	ctx, cancel := context.WithTimeout(h.canceler.ctx, h.patience)
	defer cancel()
	select {
	case err := <-answered:
		if ctx.Err() == nil {
			return err
		}
	case <-ctx.Done():
	}
	h.fence.Store(fenceBroken)
	return ctx.Err()
}

// requestPatience is how long a request's connection stays open when the statement does not wait
// any more for the server to close it: what pgx gives its own (pgconn, PgConn.asyncClose), and
// longer than PgBouncer lets a request wait (cancel_wait_timeout, ten seconds).
const requestPatience = 15 * time.Second

// send sends a cancel request, and reports when the server has closed its connection. That is
// left to the server, even if the statement does not wait for it any more: PgBouncer 1.18 crashes
// if a request's connection is closed while the request is passed on (pgbouncer issue 801).
// pgconn encrypts the request if the connection is encrypted.
func (h *Handler) send() <-chan error {
	answered := make(chan error, 1)
	h.canceler.running.Go(func() {
		ctx, cancel := context.WithTimeout(h.canceler.ctx, h.patience+requestPatience)
		defer cancel()
		answered <- h.conn.CancelRequest(ctx)
	})
	return answered
}

// closeAfter makes reading and writing fail then, upon which pgconn closes the connection
// (asyncClose), unless it was only waiting for a notification.
func (h *Handler) closeAfter(d time.Duration) {
	_ = h.conn.Conn().SetDeadline(time.Now().Add(d)) // it fails on a closed connection, which has no use for it
}

// HandleUnwatchAfterCancel is called when the statement is over, before its error is handed out.
// It waits until the server has dealt with the cancel request, if one was sent. A connection that
// was closed for its lack of an answer is left alone: pgconn says goodbye on it, within a
// deadline of its own (asyncClose).
func (h *Handler) HandleUnwatchAfterCancel() {
	h.wire.Forget()
	h.mu.Lock()
	r := h.request
	h.request = nil
	h.mu.Unlock()
	if r != nil {
		close(r.over)
		<-r.done
	}
	if !h.conn.IsClosed() {
		_ = h.conn.Conn().SetDeadline(time.Time{}) // as above
	}
}

type graceKey struct{}

// Patient returns a context with which no cancel request is sent. When ctx is done the server has
// grace left to answer, then the connection is closed. It is for COMMIT above all: a request that
// hits it while it waits for a standby makes the server give up that wait and report success
// (syncrep.c, SyncRepWaitForLSN).
func Patient(ctx context.Context, grace time.Duration) context.Context {
	return context.WithValue(ctx, graceKey{}, grace)
}
