package ratelog_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/ratelog"
)

func TestLimiter(t *testing.T) {
	start := time.Unix(1e9, 0)
	t.Run("the first record is allowed, and further ones after the interval", func(t *testing.T) {
		var l ratelog.Limiter
		for _, c := range []struct {
			after   time.Duration
			skipped int64
			ok      bool
		}{
			{0, 0, true}, {1, 0, false}, {ratelog.Interval - 1, 0, false}, {ratelog.Interval, 2, true},
			{2 * ratelog.Interval, 0, true},
		} {
			if skipped, ok := l.Allow(start.Add(c.after)); skipped != c.skipped || ok != c.ok {
				t.Errorf("after %v: got %d, %v, want %d, %v", c.after, skipped, ok, c.skipped, c.ok)
			}
		}
	})
	t.Run("of concurrent records one is allowed, and each of the others is counted", func(t *testing.T) {
		var l ratelog.Limiter
		var allowed atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, ok := l.Allow(start); ok {
					allowed.Add(1)
				}
			})
		}
		all.Wait()
		if skipped, _ := l.Allow(start.Add(ratelog.Interval)); allowed.Load() != 1 || skipped != 7 {
			t.Errorf("%d allowed, %d counted", allowed.Load(), skipped)
		}
	})
}
