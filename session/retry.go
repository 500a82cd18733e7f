package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// The pauses between the runs of a transaction: the longest that the first may be, and any. Each is random between zero and
// its longest ("full jitter"), so that those who met once do not meet again.
const (
	firstPause = 4 * time.Millisecond
	lastPause  = 512 * time.Millisecond
)

// repeat calls run until it succeeds, as often as retries allow, and tells it how often it has.
func (s *session) repeat(ctx context.Context, retries int, run func(ctx context.Context) error) error {
	longest := firstPause
	for attempt := 1; ; attempt++ {
		err := run(context.WithValue(ctx, attemptKey{}, attempt))
		if err == nil || attempt > retries || !repeatable(err) {
			return err
		}
		d := rand.N(longest)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
			return err
		}
		s.db.told.retry(ctx, &s.tally, attempt, err)
		if pause(ctx, d) != nil {
			return err
		}
		longest = min(2*longest, lastPause)
	}
}

// repeatable tells whether a transaction certainly had no effect, for a reason that may be gone the next time.
func repeatable(err error) bool {
	if errors.Is(err, ErrCommitUnknown) {
		return false
	}
	var outcome *outcomeError
	return lostConflict(err) || errors.As(err, &outcome) && outcome.repeating
}
