package scope

import "context"

// RollbackAfter rolls the level back as soon as ctx ends, whatever its function does then. stop
// prevents that. It reports false if it came too late, and then the level is rolled back when it
// returns.
func (l *Level) RollbackAfter(ctx context.Context, interrupt func()) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	done := make(chan struct{})
	prevent := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = l.Rollback(ctx, interrupt) // the level is over either way
	})
	return func() bool {
		if prevent() {
			return true
		}
		<-done
		return false
	}
}
