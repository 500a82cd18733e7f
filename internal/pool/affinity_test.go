package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pool"
)

// getFor acquires a connection with an Affinity.
func (f *fixture) getFor(t *testing.T, a *pool.Affinity) *pool.Conn {
	t.Helper()
	c, err := f.Acquire(t.Context(), "a statement", a)
	check.OK(t, err)
	return c
}

func TestAffinity(t *testing.T) {
	bubble(t, "an Affinity gets the connection that it used last, whatever the order of the releases", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		var all [4]pool.Affinity
		var had [4]*pool.Conn
		for range 10 {
			order := rand.Perm(4)
			for _, i := range order {
				c := f.getFor(t, &all[i])
				check.Equal(t, had[i] == nil || had[i] == c, true)
				had[i] = c
			}
			for _, i := range rand.Perm(4) {
				f.release(had[i])
			}
		}
		check.Equal(t, f.Stats().Dialed, 4)
	})
	bubble(t, "a caller without preference takes a connection that no Affinity wants, else the one wanted for longest", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		var a, b pool.Affinity
		first, second, free := f.getFor(t, &a), f.getFor(t, &b), f.get()
		f.release(free, first, second)
		check.Equal(t, f.get(), free)
		check.Equal(t, f.get(), first)
		check.Equal(t, f.get(), second)
		check.Equal(t, f.Stats().Dialed, 3)
	})
	bubble(t, "a connection that another caller has used since is not preferred any more", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		var a, b pool.Affinity
		c := f.getFor(t, &a)
		f.release(c)
		check.Equal(t, f.getFor(t, &b), c)
		f.release(c)
		other := f.get()
		check.Equal(t, other, c)
		d := f.get()
		f.release(c, d)
		check.Equal(t, f.getFor(t, &a), d) // the most recently used
	})
	bubble(t, "a waiter gets a connection that an Affinity wants at once", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		var a pool.Affinity
		c := f.getFor(t, &a)
		w := f.call("waits")
		f.release(c)
		check.Equal(t, w.conn(), c)
		f.release(c)
		check.Equal(t, f.getFor(t, &a), c)
	})
	bubble(t, "the end of an Affinity leaves its connection to all callers", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		var a, b pool.Affinity
		first, second := f.getFor(t, &a), f.getFor(t, &b)
		f.release(first, second)
		f.Forget(&b)
		check.Equal(t, f.get(), second)
		check.Equal(t, f.getFor(t, &a), first)
		f.Forget(&a)
		f.release(first) // after its end
		check.Equal(t, f.get(), first)
		check.Equal(t, f.Stats().Dialed, 2)
	})
	bubble(t, "a connection that is discarded, or that was reset, is no obstacle to its Affinity", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		var a pool.Affinity
		c := f.getFor(t, &a)
		f.releaseAs(c, health.Dirty)
		synctest.Wait()
		check.Equal(t, f.getFor(t, &a), c)
		f.releaseAs(c, health.Unfit)
		synctest.Wait()
		d := f.getFor(t, &a)
		check.Equal(t, c == d, false)
		f.release(d)
		check.Equal(t, f.getFor(t, &a), d)
	})
	bubble(t, "no caller waits while a connection is idle, at random, and none is lost", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 4})
		var wg sync.WaitGroup
		for i := range 40 {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			wg.Go(func() {
				var a pool.Affinity
				for range 100 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(20))*time.Millisecond)
					c, err := f.Acquire(ctx, fmt.Sprint(i), &a)
					if err == nil {
						time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
						f.Release(c)
					} else {
						s := f.Pool.Stats()
						check.Equal(t, s.Idle == 0 || s.Waiting == 0, true)
					}
					cancel()
				}
				f.Forget(&a)
			})
		}
		wg.Wait()
		s := f.Stats()
		check.Equal(t, fmt.Sprint(s.InUse, s.Waiting, s.Idle <= 4), "0 0 true")
	})
}

func TestLimitTo(t *testing.T) {
	bubble(t, "a limit holds for callers from now on, and connections above it close when they come back", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		all := f.gets(5)
		f.LimitTo(2)
		w := f.call("waits")
		f.release(all[0], all[1], all[2])
		synctest.Wait()
		check.Equal(t, w.waits(), true)
		f.release(all[3])
		c := w.conn()
		f.release(all[4], c)
		synctest.Wait()
		check.Equal(t, f.opened() <= 2, true)
	})
	bubble(t, "idle connections above a limit are not used beyond it", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.release(f.gets(5)...)
		f.LimitTo(2)
		got := 0
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := f.Acquire(ctx, "a statement", nil); err == nil {
				got++
			}
			cancel()
		}
		check.Equal(t, got, 2)
	})
	bubble(t, "a limit above the cap leaves the cap, and a higher limit lets waiters in", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 3})
		f.LimitTo(10)
		check.Equal(t, f.Stats().Max, 3)
		f.LimitTo(1)
		f.get()
		waiters := f.calls(3)
		f.LimitTo(3)
		synctest.Wait()
		waiters[0].conn()
		waiters[1].conn()
		check.Equal(t, waiters[2].waits(), true)
	})
	bubble(t, "a wait under a limit ends after thirty seconds if the pool has no timeout, and names the holders", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.LimitTo(1)
		c := f.get()
		c.Note("the holder")
		began := time.Now()
		_, err := f.Acquire(t.Context(), "waits", nil)
		check.Equal(t, errors.Is(err, pool.ErrTimeout), true)
		check.Equal(t, time.Since(began), 30*time.Second)
		late, _ := errors.AsType[*pool.AcquireError](err)
		check.Equal(t, late.Holders[0].Text, "the holder")
	})
}
