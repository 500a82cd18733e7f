package pgtest

import (
	"testing"
	"time"
)

// patience is how long Eventually waits: far more than anything takes, so that only what never
// happens fails.
const patience = 60 * time.Second

// Eventually returns when happened returns true, which it is asked again and again, and fails the
// test if it does not within a minute. what says what was waited for. It is for what cannot be
// waited for in another way, such as what another process does.
func Eventually(tb testing.TB, what string, happened func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		if time.Now().After(deadline) {
			tb.Fatalf("after %v it is still not so that %s", patience, what)
		}
		<-tick.C
	}
}
