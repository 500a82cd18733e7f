package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// The upper bounds of the pauses between two runs of a transaction: of the first, and of any. Each
// pause is random between zero and its bound, so that transactions that met do not meet again.
const (
	firstPause = 4 * time.Millisecond
	lastPause  = 512 * time.Millisecond
)

// repeat runs the transaction until it succeeds, as often as the options allow.
func (t *transaction) repeat(ctx context.Context) error {
	bound := firstPause
	for attempt := 1; ; attempt++ {
		err := t.once(ctx, attempt)
		if err == nil || attempt > t.options.Retries || !isRepeatable(err) {
			return err
		}
		d := rand.N(bound)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
			return err
		}
		t.home.Tracer.Retry(ctx, attempt, err)
		if pause(ctx, d) != nil {
			return err
		}
		bound = min(2*bound, lastPause)
	}
}

// isRepeatable reports whether a transaction certainly had no effect, for a reason that may be gone the
// next time. SQLSTATEs 40001 and 40P01 come only from other transactions (PostgreSQL's manual, 13.5).
func isRepeatable(err error) bool {
	if errors.Is(err, ErrCommitUnknown) {
		return false
	}
	if errors.Is(err, errNotCommitted) {
		return true
	}
	state := sqlstate.Of(err)
	return state == sqlstate.SerializationFailure || state == sqlstate.DeadlockDetected
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
