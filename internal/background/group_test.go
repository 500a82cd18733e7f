package background_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/pgsafe/pgsafe/internal/background"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestGroup(t *testing.T) {
	t.Run("Close ends the context of the goroutines and waits for them", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := background.New()
			var ended atomic.Int32
			for range 3 {
				check.Equal(t, g.Go(func(ctx context.Context) {
					<-ctx.Done()
					ended.Add(1)
				}), true)
			}
			synctest.Wait()
			check.Equal(t, ended.Load(), 0)
			check.Equal(t, g.Context().Err(), nil)
			g.Close()
			check.Equal(t, ended.Load(), 3)
			check.Equal(t, g.Context().Err(), context.Canceled)
		})
	})
	t.Run("Go runs nothing after Close", func(t *testing.T) {
		g := background.New()
		g.Close()
		check.Equal(t, g.Go(func(context.Context) { t.Error("it runs") }), false)
	})
	t.Run("a second Close waits too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := background.New()
			release := make(chan struct{})
			g.Go(func(context.Context) { <-release })
			var closed atomic.Int32
			for range 2 {
				go func() {
					g.Close()
					closed.Add(1)
				}()
			}
			synctest.Wait()
			check.Equal(t, closed.Load(), 0)
			close(release)
			synctest.Wait()
			check.Equal(t, closed.Load(), 2)
		})
	})
	t.Run("Go and Close race without a lost goroutine", func(t *testing.T) {
		g := background.New()
		var started, ended atomic.Int32
		many := make(chan struct{})
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for g.Go(func(context.Context) {
					if ended.Add(1) == 100 {
						close(many)
					}
				}) {
					started.Add(1)
				}
			})
		}
		<-many
		g.Close()
		callers.Wait()
		check.Equal(t, ended.Load(), started.Load())
	})
}
