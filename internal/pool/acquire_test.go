package pool_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pool"
)

func TestAcquire(t *testing.T) {
	bubble(t, "the most recently used idle connection goes to the next caller", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		all := f.gets(3)
		f.release(all[1], all[0], all[2])
		check.Equal(t, f.get(), all[2])
		check.Equal(t, f.get(), all[0])
		check.Equal(t, f.get(), all[1])
		check.Equal(t, f.Stats().Dialed, 3)
	})
	bubble(t, "a released connection goes to the longest waiter, unchecked", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		waiters := f.calls(4)
		for i, w := range waiters {
			check.Equal(t, served(waiters), i)
			f.release(c)
			check.Equal(t, w.conn(), c)
		}
		check.Equal(t, len(fake(c).checks), 0)
		check.Equal(t, f.Stats().Dialed, 1)
	})
	bubble(t, "an idle connection that is unfit is discarded and the caller gets the next one", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		all := f.gets(3)
		f.release(all...)
		for _, c := range all[1:] {
			fake(c).fit = func(context.Context, time.Duration, health.Trust) bool { return false }
		}
		check.Equal(t, f.get(), all[0])
		check.Equal(t, f.opened(), 1)
		check.Equal(t, f.Stats().Acquired, 4)
	})
	bubble(t, "Fit gets the caller's context and how long the connection was idle", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		f.release(c)
		time.Sleep(7 * time.Second)
		type keyType struct{}
		key := keyType{}
		fake(c).fit = func(ctx context.Context, idle time.Duration, trust health.Trust) bool {
			check.Equal(t, ctx.Value(key), any("the caller's"))
			check.Equal(t, idle, 7*time.Second)
			check.Equal(t, trust, health.Trusted)
			return true
		}
		_, err := f.Acquire(context.WithValue(t.Context(), key, "the caller's"), "", nil)
		check.OK(t, err)
	})
	bubble(t, "a connection that was idle reports no wait, a handed over one the time of the wait", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		w := f.call("")
		time.Sleep(time.Second)
		f.release(c)
		check.Equal(t, w.conn().Waited(), time.Second)
		f.release(c)
		check.Equal(t, f.get().Waited(), 0)
	})
	bubble(t, "OnRelease gets the time of each use", func(t *testing.T) {
		var uses []time.Duration
		f := newFixture(t, pool.Config{Max: 1, OnRelease: func(d time.Duration) { uses = append(uses, d) }})
		c := f.get()
		time.Sleep(time.Second)
		f.release(c)
		time.Sleep(time.Minute)
		c = f.get()
		w := f.call("")
		time.Sleep(2 * time.Second)
		f.release(c)
		time.Sleep(3 * time.Second)
		f.releaseAs(w.conn(), health.Unfit)
		check.Equal(t, slices.Equal(uses, []time.Duration{1e9, 2e9, 3e9}), true)
	})
	bubble(t, "OnRelease is not called for a connection that was found unfit", func(t *testing.T) {
		uses := 0
		f := newFixture(t, pool.Config{Max: 1, OnRelease: func(time.Duration) { uses++ }})
		c := f.get()
		f.release(c)
		fake(c).fit = func(context.Context, time.Duration, health.Trust) bool {
			time.Sleep(time.Second) // a ping
			return false
		}
		w := f.call("")
		time.Sleep(time.Second)
		check.Equal(t, fake(w.conn()).number, 1)
		check.Equal(t, uses, 1)
	})
}

func TestWaitersThatGiveUp(t *testing.T) {
	bubble(t, "a waiter whose context ends gets its error and leaves the queue", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		waiters := f.calls(3)
		waiters[1].cancel()
		isError(t, waiters[1].fails(), context.Canceled)
		check.Equal(t, f.Stats().Waiting, 2)
		f.release(c)
		check.Equal(t, waiters[0].conn(), c)
		f.release(c)
		check.Equal(t, waiters[2].conn(), c)
	})
	bubble(t, "any waiter can leave the queue", func(t *testing.T) {
		for first := range 3 {
			for second := range 3 {
				f := newFixture(t, pool.Config{Max: 1})
				c := f.get()
				waiters := f.calls(3)
				for _, i := range []int{first, second} {
					waiters[i].cancel()
					isError(t, waiters[i].fails(), context.Canceled)
				}
				for i, w := range waiters {
					if i != first && i != second {
						f.release(c)
						check.Equal(t, w.conn(), c)
					}
				}
				f.release(c)
				check.Equal(t, f.Stats().Idle, 1)
			}
		}
	})
	bubble(t, "a waiter gives up after AcquireTimeout, each at its own time", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1, AcquireTimeout: 5 * time.Second})
		f.get()
		first := f.call("")
		time.Sleep(time.Second)
		second := f.call("")
		time.Sleep(4 * time.Second)
		isError(t, first.fails(), pool.ErrTimeout)
		check.Equal(t, second.waits(), true)
		time.Sleep(time.Second)
		isError(t, second.fails(), pool.ErrTimeout)
		check.Equal(t, second.took, 5*time.Second)
	})
	bubble(t, "a waiter that is used again has all of AcquireTimeout", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1, AcquireTimeout: 5 * time.Second})
		c := f.get()
		for range 3 {
			w := f.call("")
			time.Sleep(4 * time.Second)
			f.release(c)
			check.Equal(t, w.conn(), c)
		}
		w := f.call("")
		time.Sleep(5 * time.Second)
		isError(t, w.fails(), pool.ErrTimeout)
		w = f.call("")
		time.Sleep(4 * time.Second)
		check.Equal(t, w.waits(), true)
		f.release(c)
	})
	bubble(t, "AcquireTimeout zero sets no bound", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		w := f.call("")
		time.Sleep(1000 * time.Hour)
		check.Equal(t, w.waits(), true)
		f.release(c)
		check.Equal(t, w.conn(), c)
	})
	bubble(t, "the dial of a caller that gave up goes on and serves the next waiter", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		f.holdDials()
		first, second := f.call(""), f.call("")
		first.cancel()
		isError(t, first.fails(), context.Canceled)
		f.dialEnds(nil)
		check.Equal(t, fake(second.conn()).number, 0)
		check.Equal(t, f.Stats().Dialed, 1)
	})
	bubble(t, "the dial of a caller that gave up becomes an idle connection", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		w := f.call("")
		w.cancel()
		isError(t, w.fails(), context.Canceled)
		f.dialEnds(nil)
		check.Equal(t, f.Stats().Idle, 1)
		f.get()
		check.Equal(t, f.Stats().Dialed, 1)
	})
	bubble(t, "a caller that comes after one that gave up uses the dial under way", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		for range 20 {
			w := f.call("")
			w.cancel()
			isError(t, w.fails(), context.Canceled)
		}
		w := f.call("")
		check.Equal(t, f.Stats().Dialed, 1)
		f.dialEnds(nil)
		w.conn()
	})
	bubble(t, "a connection that is handed over while the waiter gives up is not lost", func(t *testing.T) {
		for range 100 {
			f := newFixture(t, pool.Config{Max: 1})
			c := f.get()
			w := f.call("")
			w.cancel()
			f.release(c)
			if !w.waits() && w.err == nil {
				f.release(w.got)
			}
			check.Equal(t, f.Stats().Idle, 1)
			check.Equal(t, f.get(), c)
		}
	})
	bubble(t, "a waiter that is served before it notices its context's end gets the connection", func(t *testing.T) {
		for range 100 {
			f := newFixture(t, pool.Config{Max: 1})
			c := f.get()
			hold := make(chan struct{})
			f.OnWait(func() { <-hold }) // between the queue and the select
			w := f.call("")
			w.cancel()
			f.release(c)
			close(hold)
			synctest.Wait()
			check.Equal(t, w.conn(), c) // it was given before the waiter gave up
		}
	})
}

func TestAcquireError(t *testing.T) {
	bubble(t, "an AcquireError names the three longest holders and counts the rest", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 4})
		for _, text := range []string{"first", "second", "third", "fourth"} {
			f.call(text).conn()
			time.Sleep(time.Second)
		}
		f.call("")
		w := f.call("")
		time.Sleep(time.Second)
		w.cancel()
		e, ok := errors.AsType[*pool.AcquireError](w.fails())
		check.Equal(t, ok, true)
		check.Equal(t, e.InUse, 4)
		check.Equal(t, e.Max, 4)
		check.Equal(t, e.Dialing, 0)
		check.Equal(t, e.Waiting, 2)
		check.Equal(t, e.Waited, time.Second)
		check.Equal(t, e.Failure, nil)
		want := []pool.Holder{{"first", 5 * time.Second}, {"second", 4 * time.Second}, {"third", 3 * time.Second}}
		check.Equal(t, slices.Equal(e.Holders, want), true)
		check.Equal(t, e.Error(), "context canceled: 4 of 4 in use, 0 being opened, 2 waiting")
	})
	bubble(t, "a holder's text is what its user noted last", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1, AcquireTimeout: time.Second})
		c := f.call("BEGIN").conn()
		c.Note("UPDATE orders")
		w := f.call("")
		time.Sleep(time.Second)
		e, _ := errors.AsType[*pool.AcquireError](w.fails())
		check.Equal(t, e.Holders[0].Text, "UPDATE orders")
		f.release(c)
		w = f.call("DELETE")
		time.Sleep(time.Second)
		w2 := f.call("")
		time.Sleep(time.Second)
		e, _ = errors.AsType[*pool.AcquireError](w2.fails())
		check.Equal(t, e.Holders[0], pool.Holder{Text: "DELETE", For: 2 * time.Second})
		w.conn()
	})
	bubble(t, "an AcquireError of a pool without a cap names no cap", func(t *testing.T) {
		f := newFixture(t, pool.Config{AcquireTimeout: time.Second})
		f.holdDials()
		w := f.call("")
		time.Sleep(time.Second)
		err := w.fails()
		check.Equal(t, err.Error(), "no connection within the pool's acquire timeout: 0 in use, 1 being opened, 1 waiting")
	})
	bubble(t, "an AcquireError has why no connection can be opened", func(t *testing.T) {
		f := newFixture(t, pool.Config{AcquireTimeout: time.Second})
		f.dialsEnd(errPassing)
		w := f.call("")
		time.Sleep(time.Second)
		err := w.fails()
		isError(t, err, pool.ErrTimeout)
		isError(t, err, errPassing)
		e, _ := errors.AsType[*pool.AcquireError](err)
		check.Equal(t, e.Failure, errPassing)
	})
}

func TestStats(t *testing.T) {
	bubble(t, "Stats counts connections in use, idle and being opened, and callers that wait", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 4})
		all := f.gets(3)
		f.release(all[0])
		check.Equal(t, f.get(), all[0])
		f.release(all[1])
		f.holdDials()
		f.get()
		f.calls(3)
		s := f.Stats()
		check.Equal(t, s, pool.Stats{Max: 4, Total: 4, InUse: 3, Dialing: 1, Waiting: 3, Dialed: 4, Acquired: 8, Waited: 3})
		f.dialEnds(nil)
		check.Equal(t, f.Stats().Total, 4)
	})
	bubble(t, "a wait counts once it has ended, however it ended", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1, AcquireTimeout: time.Minute})
		f.holdDials()
		refused := f.call("")
		time.Sleep(time.Second)
		f.dialEnds(errLasting)
		isError(t, refused.fails(), errLasting)
		check.Equal(t, f.Stats().Waited, 1)
		check.Equal(t, f.Stats().WaitTime, time.Second)

		f.dialsEnd(errPassing)
		impatient := f.call("")
		time.Sleep(patience)
		isError(t, impatient.fails(), errPassing)
		check.Equal(t, f.Stats().Waited, 2)
		check.Equal(t, f.Stats().WaitTime, time.Second+patience)

		f.dialsEnd(nil)
		w := f.call("")
		time.Sleep(time.Second)
		w.conn()
		late := f.call("")
		time.Sleep(time.Minute)
		isError(t, late.fails(), pool.ErrTimeout)
		check.Equal(t, f.Stats().Waited, 4)
		f.call("")
		f.Close()
		synctest.Wait()
		check.Equal(t, f.Stats().Waited, 5)
		check.Equal(t, f.Stats().Waiting, 0)
	})
}
