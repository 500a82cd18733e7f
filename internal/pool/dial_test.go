package pool_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pool"
)

func TestDials(t *testing.T) {
	bubble(t, "each waiter below the cap has a dial, and no more dials are under way", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 5})
		f.holdDials()
		for n := 1; n <= 8; n++ {
			f.call("")
			check.Equal(t, f.Stats().Dialing, min(n, 5))
		}
	})
	bubble(t, "connections in use, dials and connections being closed stay within the cap", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 3})
		closing := make(chan struct{})
		f.prepare = func(s *server) { s.close = func() { <-closing } }
		all := f.gets(3)
		f.releaseAs(all[0], health.Unfit)
		waiters := f.calls(3)
		check.Equal(t, f.Stats().Dialing, 0)
		check.Equal(t, f.opened(), 3)
		f.prepare = nil
		close(closing)
		check.Equal(t, served(waiters), 1)
		check.Equal(t, f.opened(), 3)
	})
	bubble(t, "a connection that is closed already makes room at once", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		w := f.call("")
		fake(c).gone = true
		f.releaseAs(c, health.Unfit)
		w.conn()
	})
	bubble(t, "a connection in reset counts as one that is coming", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		done := make(chan struct{})
		fake(c).reset = func(context.Context) error { <-done; return nil }
		f.releaseAs(c, health.Dirty)
		f.holdDials()
		first, second := f.call(""), f.call("")
		check.Equal(t, f.Stats().Dialing, 1)
		check.Equal(t, f.Stats().InUse, 1)
		close(done)
		check.Equal(t, first.conn(), c)
		check.Equal(t, second.waits(), true)
	})
	bubble(t, "a dial that ends while a connection is released serves the next waiter", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		f.holdDials()
		w := f.call("")
		f.release(c)
		check.Equal(t, w.conn(), c)
		f.dialEnds(nil)
		check.Equal(t, f.Stats().Idle, 1)
		f.get()
		check.Equal(t, f.Stats().Dialed, 2)
	})
}

func TestSlowDials(t *testing.T) {
	config := pool.Config{Max: 1, SlowDial: 5 * time.Second}
	bubble(t, "a slow dial goes on while a caller of its time waits", func(t *testing.T) {
		f := newFixture(t, config)
		f.holdDials()
		first := f.call("")
		time.Sleep(time.Second)
		f.call("")
		time.Sleep(time.Hour)
		check.Equal(t, f.Stats().Dialed, 1)
		f.dialEnds(nil)
		first.conn()
	})
	bubble(t, "a slow dial is replaced once every caller of its time has given up before", func(t *testing.T) {
		f := newFixture(t, config)
		f.holdDials()
		first := f.call("")
		time.Sleep(time.Second)
		second := f.call("")
		first.cancel()
		time.Sleep(3 * time.Second)
		check.Equal(t, f.Stats().Dialed, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		check.Equal(t, f.Stats().Dialed, 2)
		check.Equal(t, f.Stats().Dialing, 1)
		check.Equal(t, f.Stats().DialFailed, 0)
		f.dialEnds(nil)
		second.conn()
	})
	bubble(t, "a slow dial is replaced when the last caller of its time gives up", func(t *testing.T) {
		f := newFixture(t, config)
		f.holdDials()
		first := f.call("")
		time.Sleep(time.Second)
		second := f.call("")
		time.Sleep(10 * time.Second)
		first.cancel()
		isError(t, first.fails(), context.Canceled)
		check.Equal(t, f.Stats().Dialed, 2)
		f.dialEnds(nil)
		second.conn()
	})
	bubble(t, "a slow dial is replaced when the last caller of its time is served by a release", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 2, SlowDial: 5 * time.Second})
		c := f.get()
		f.holdDials()
		first := f.call("")
		time.Sleep(time.Second)
		second := f.call("")
		time.Sleep(10 * time.Second)
		f.release(c)
		check.Equal(t, first.conn(), c)
		check.Equal(t, f.Stats().Dialed, 3)
		f.dialEnds(nil)
		second.conn()
	})
	bubble(t, "a caller that comes when all others have gone replaces a slow dial at once", func(t *testing.T) {
		f := newFixture(t, config)
		f.holdDials()
		f.call("").cancel()
		time.Sleep(time.Hour)
		check.Equal(t, f.Stats().Dialed, 1)
		w := f.call("")
		check.Equal(t, f.Stats().Dialed, 2)
		f.dialEnds(nil)
		w.conn()
	})
	bubble(t, "a slow dial that succeeds while it is replaced is used", func(t *testing.T) {
		f := newFixture(t, config)
		proceed := make(chan struct{})
		f.dialsAre(func(ctx context.Context) error { <-proceed; return nil })
		f.call("").cancel()
		time.Sleep(time.Hour)
		w := f.call("")
		close(proceed)
		check.Equal(t, fake(w.conn()).number, 0)
		check.Equal(t, f.Stats().Dialed, 1)
	})
	bubble(t, "no dial is slow without SlowDial", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		f.holdDials()
		f.call("").cancel()
		time.Sleep(time.Hour)
		f.call("")
		check.Equal(t, f.Stats().Dialed, 1)
	})
}
