package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// What the fence of a connection is like: where a request to cancel the last statement stands.
const (
	fenceDown   uint32 = iota // none was sent since the connection was last known to be clear
	fenceUp                   // one was, and the server has dealt with it
	fenceBroken               // one was, and nobody knows when it arrives
)

// Fenced reports whether Clear must be called before the connection's next use.
func (h *Handler) Fenced() bool {
	return h != nil && h.fence.Load() != fenceDown
}

// Clear takes down the fence. The connection must be its caller's. With an error it is closed.
//
// It runs an empty query, which does nothing, in an aborted transaction too (postgres.c, exec_simple_query), and which a
// cancellation may hit in the next statement's place. A PostgreSQL server of one's own ignores a signal that comes
// when no statement runs (postgres.c, ProcessInterrupts, DoingCommandRead), and has sent it by now; a proxy or pooler in
// between may close a request's connection before it has passed the request on.
func (h *Handler) Clear() error {
	switch {
	case !h.Fenced() || h.conn.IsBusy(): // a busy connection refuses the next statement itself
		return nil
	case h.fence.Load() == fenceBroken:
		return h.abandon(errBroken)
	}
	h.closeAfter(h.canceler.timeout)
	err := h.conn.Exec(context.Background(), "").Close()
	if err != nil && !IsCanceled(err) {
		return h.abandon(err)
	}
	_ = h.conn.Conn().SetDeadline(time.Time{}) // if it fails, so does the next statement
	h.fence.Store(fenceDown)
	return nil
}

// errBroken says why a connection cannot be cleared.
var errBroken = errors.New("a request to cancel its last statement is still on its way")

// abandon closes a connection that nobody waits for.
func (h *Handler) abandon(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), h.canceler.timeout)
	defer cancel()
	_ = h.conn.Close(Patient(ctx, 0)) // it is gone either way
	return fmt.Errorf("the connection could not be cleared after a cancelled statement: %w", cause)
}

// queryCanceled is the SQLSTATE of a statement that a request, or a timeout of the server, has ended.
const queryCanceled = "57014"

// IsCanceled reports whether err says that the server ended a statement before it was done.
func IsCanceled(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == queryCanceled
}
