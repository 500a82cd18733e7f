package canceler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Where a request to cancel the last statement stands.
const (
	fenceDown   uint32 = iota // none was sent since the connection was last known to be clear
	fenceUp                   // one was, and the server has dealt with it
	fenceBroken               // one was, and may arrive at any time
)

// Fenced reports whether Clear must be called before the connection's next use. It is safe for
// concurrent use.
func (h *Handler) Fenced() bool {
	return h != nil && h.fence.Load() != fenceDown
}

// Clear takes down the fence. The connection must belong to the caller. If Clear fails it closes
// the connection.
//
// It runs an empty query, which does nothing, in an aborted transaction too (postgres.c,
// exec_simple_query), and which a cancellation may hit in the next statement's place.
//
// A PostgreSQL server that is connected directly needs none. It closes a request's connection
// after the signal was sent (postmaster.c, processCancelRequest), so that the signal is handled
// before the next statement is read, and a signal that comes while no statement runs is dropped
// (postgres.c, PostgresMain and ProcessInterrupts, DoingCommandRead). But a pooler or a proxy may
// close that connection before it has passed the request on, and looks like a server. Nor does
// the answer 57014 prove that the request has come: statement_timeout may have been quicker. The
// query costs little beside the process that the server forks for the request: see
// BenchmarkCancelStorm.
func (h *Handler) Clear() error {
	switch {
	case !h.Fenced() || h.conn.IsBusy(): // a busy connection refuses the next statement itself
		return nil
	case h.fence.Load() == fenceBroken:
		return h.abandon(errBroken)
	}
	h.closeAfter(h.patience)
	err := h.conn.Exec(context.Background(), "").Close()
	if err != nil && !IsCanceled(err) {
		return h.abandon(err)
	}
	_ = h.conn.Conn().SetDeadline(time.Time{}) // if it fails, so does the next statement
	h.mu.Lock()
	h.cause = nil
	h.mu.Unlock()
	h.fence.Store(fenceDown)
	return nil
}

// errBroken says why a connection cannot be cleared.
var errBroken = errors.New("a request to cancel its last statement is still on its way")

// abandon closes a connection that no caller uses.
func (h *Handler) abandon(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), h.canceler.timeout)
	defer cancel()
	_ = h.conn.Close(Patient(ctx, 0)) // it is gone either way
	return fmt.Errorf("the connection could not be cleared after a cancelled statement: %w", cause)
}

// queryCanceled is the SQLSTATE of a statement that a request, or a timeout of the server, has
// ended.
const queryCanceled = "57014"

// IsCanceled reports whether err says that the server ended a statement before it was done.
func IsCanceled(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == queryCanceled
}
