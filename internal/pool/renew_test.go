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

// proven makes n idle connections that were in use once.
func (f *fixture) proven(n int) []*pool.Conn {
	f.t.Helper()
	all := f.gets(n)
	f.release(all...)
	slices.Reverse(all) // in the order in which they are taken
	return all
}

func TestLosses(t *testing.T) {
	// renewals makes a pool that counts its renewals.
	renewals := func(t *testing.T, config pool.Config) (*fixture, *int) {
		n := 0
		config.OnRenew = func() { n++ }
		return newFixture(t, config), &n
	}
	bubble(t, "one lost connection does not renew the pool", func(t *testing.T) {
		f, renewed := renewals(t, pool.Config{})
		f.proven(5)
		f.releaseAs(f.get(), health.Lost)
		check.Equal(t, *renewed, 0)
		check.Equal(t, f.Stats().Idle, 4)
	})
	bubble(t, "two connections lost in a row renew the pool", func(t *testing.T) {
		f, renewed := renewals(t, pool.Config{})
		f.proven(5)
		all := f.gets(3)
		f.releaseAs(all[0], health.Lost)
		f.releaseAs(all[1], health.Lost)
		check.Equal(t, *renewed, 1)
		check.Equal(t, f.Stats().Idle, 0)
		check.Equal(t, f.opened(), 1)
		f.release(all[2])
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "losses with releases between them do not renew the pool", func(t *testing.T) {
		f, renewed := renewals(t, pool.Config{})
		f.proven(10)
		for range 20 {
			lost, other := f.get(), f.get()
			f.releaseAs(lost, health.Lost)
			f.release(other)
			other, spare := f.get(), f.get()
			f.release(spare, other)
		}
		check.Equal(t, *renewed, 0)
		if n := f.Stats().Dialed; n > 30 {
			t.Errorf("%d dials for 20 losses", n)
		}
	})
	bubble(t, "idle connections that the server ended with a lost one count as lost", func(t *testing.T) {
		f, renewed := renewals(t, pool.Config{})
		all := f.proven(5)
		fake(all[3]).end()
		f.releaseAs(f.get(), health.Lost)
		check.Equal(t, *renewed, 1)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "connections that are lost before they were proven do not renew the pool", func(t *testing.T) {
		f, renewed := renewals(t, pool.Config{})
		f.proven(1)
		all := f.gets(4)
		for _, c := range all[1:] {
			f.releaseAs(c, health.Lost)
		}
		check.Equal(t, *renewed, 0)
		check.Equal(t, f.opened(), 1)
	})
	bubble(t, "connections of an ended generation teach nothing", func(t *testing.T) {
		f, renewed := renewals(t, pool.Config{})
		f.proven(5)
		all := f.gets(5)
		f.releaseAs(all[0], health.Outdated)
		check.Equal(t, *renewed, 1)
		f.release(f.get())
		for _, c := range all[1:4] {
			f.releaseAs(c, health.Lost)
		}
		f.releaseAs(all[4], health.Outdated)
		check.Equal(t, *renewed, 1)
		check.Equal(t, f.Stats().Idle, 1)
	})
	bubble(t, "an outdated connection renews the pool at once", func(t *testing.T) {
		f, renewed := renewals(t, pool.Config{})
		f.proven(3)
		f.releaseAs(f.get(), health.Outdated)
		check.Equal(t, *renewed, 1)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "an idle connection that Fit finds outdated renews the pool", func(t *testing.T) {
		f, renewed := renewals(t, pool.Config{})
		all := f.proven(3)
		fake(all[0]).fit = func(context.Context, time.Duration, health.Trust) bool {
			fake(all[0]).is(health.Outdated)
			return false
		}
		check.Equal(t, fake(f.get()).number, 3)
		check.Equal(t, *renewed, 1)
		check.Equal(t, f.opened(), 1)
	})
	bubble(t, "a connection in use during a renewal is closed when it is released, not handed over", func(t *testing.T) {
		f, _ := renewals(t, pool.Config{Max: 2})
		all := f.gets(2)
		f.releaseAs(all[0], health.Outdated)
		waiters := f.calls(2)
		f.release(all[1])
		check.Equal(t, waiters[0].conn().Server != all[1].Server, true)
		check.Equal(t, waiters[1].conn().Server != all[1].Server, true)
		check.Equal(t, f.opened(), 2)
	})
	bubble(t, "a dial that began before a renewal is not used", func(t *testing.T) {
		f, _ := renewals(t, pool.Config{Max: 2})
		c := f.get()
		proceed := make(chan struct{})
		f.dialsAre(func(context.Context) error { <-proceed; return nil })
		w := f.call("")
		f.releaseAs(c, health.Outdated)
		f.dialsEnd(nil)
		close(proceed)
		check.Equal(t, fake(w.conn()).number, 2)
		check.Equal(t, f.opened(), 1)
	})
	bubble(t, "a useless connection that closes slowly counts against the cap", func(t *testing.T) {
		f, _ := renewals(t, pool.Config{Max: 2})
		c := f.get()
		proceed, closing := make(chan struct{}), make(chan struct{})
		f.prepare = func(s *server) { s.close = func() { <-closing } }
		f.dialsAre(func(context.Context) error { <-proceed; return nil })
		w := f.call("")
		fake(c).gone = true
		f.releaseAs(c, health.Outdated)
		others := f.calls(2)
		f.dialsEnd(nil)
		close(proceed)
		check.Equal(t, f.opened(), 2)
		close(closing)
		check.Equal(t, served(append(others, w)), 2)
	})
	bubble(t, "a renewal ends the dials under way", func(t *testing.T) {
		f, _ := renewals(t, pool.Config{})
		c := f.get()
		f.holdDials()
		w := f.call("")
		f.releaseAs(c, health.Outdated)
		check.Equal(t, f.Stats().Dialed, 3)
		check.Equal(t, f.Stats().DialFailed, 0)
		f.dialEnds(nil)
		w.conn()
	})
	bubble(t, "the failure of a dial that began before a renewal is nobody's", func(t *testing.T) {
		f, _ := renewals(t, pool.Config{})
		c := f.get()
		proceed := make(chan struct{})
		f.dialsAre(func(context.Context) error { <-proceed; return errLasting })
		w := f.call("")
		f.releaseAs(c, health.Outdated)
		f.dialsEnd(nil)
		close(proceed)
		w.conn()
		check.Equal(t, f.Stats().DialFailed, 0)
	})
	bubble(t, "losses after Close teach nothing", func(t *testing.T) {
		f, renewed := renewals(t, pool.Config{})
		f.proven(3)
		all := f.gets(4)
		f.Close()
		for _, c := range all {
			f.releaseAs(c, health.Lost)
		}
		check.Equal(t, *renewed, 0)
		check.Equal(t, f.Stats().DialFailed, 0)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "a lost connection's place goes to the next waiter", func(t *testing.T) {
		f, _ := renewals(t, pool.Config{Max: 1})
		f.proven(1)
		c := f.get()
		w := f.call("")
		f.releaseAs(c, health.Lost)
		check.Equal(t, fake(w.conn()).number, 1)
	})
}

func TestSuspicion(t *testing.T) {
	for state, name := range map[health.State]string{health.Lost: "lost", health.Doubtful: "doubtful"} {
		bubble(t, "a "+name+" connection makes those suspect that were idle, until they are used", func(t *testing.T) {
			f := newFixture(t, pool.Config{})
			f.proven(3)
			time.Sleep(time.Second)
			bad, other := f.get(), f.get()
			time.Sleep(time.Second)
			f.releaseAs(bad, state)
			time.Sleep(time.Second)
			f.release(other)
			time.Sleep(time.Second)
			check.Equal(t, f.get(), other)
			suspect := f.get()
			check.Equal(t, slices.Equal(fake(other).checks, []health.Trust{health.Trusted, health.Trusted}), true)
			check.Equal(t, slices.Equal(fake(suspect).checks, []health.Trust{health.Suspect}), true)
			f.release(suspect)
			check.Equal(t, f.get(), suspect)
			check.Equal(t, fake(suspect).checks[1], health.Trusted)
		})
	}
	bubble(t, "an unfit connection makes no other one suspect", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		all := f.proven(2)
		f.releaseAs(f.get(), health.Unfit)
		f.get()
		check.Equal(t, fake(all[1]).checks[0], health.Trusted)
	})
}

func TestReset(t *testing.T) {
	bubble(t, "a dirty connection is reset before a waiter gets it", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		proceed := make(chan struct{})
		fake(c).reset = func(context.Context) error { <-proceed; return nil }
		w := f.call("")
		f.releaseAs(c, health.Dirty)
		check.Equal(t, w.waits(), true)
		close(proceed)
		check.Equal(t, w.conn(), c)
		check.Equal(t, fake(c).resets, 1)
	})
	bubble(t, "a dirty connection is reset before it is idle", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.releaseAs(f.get(), health.Dirty)
		check.Equal(t, f.Stats().Idle, 1)
		check.Equal(t, f.made()[0].resets, 1)
		check.Equal(t, f.made()[0].state, health.Clean)
	})
	bubble(t, "a reset that fails ends the connection and the waiter gets another one", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		fake(c).reset = func(context.Context) error { return errors.New("out of memory") }
		w := f.call("")
		f.releaseAs(c, health.Dirty)
		check.Equal(t, fake(w.conn()).number, 1)
		check.Equal(t, f.opened(), 1)
	})
	bubble(t, "a waiter below the cap need not wait until a connection whose reset failed is closed", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 2})
		c := f.get()
		fail, closing := make(chan struct{}), make(chan struct{})
		fake(c).reset = func(context.Context) error { <-fail; return errors.New("out of memory") }
		fake(c).close = func() { <-closing }
		f.releaseAs(c, health.Dirty)
		w := f.call("")
		check.Equal(t, f.Stats().Dialed, 1)
		close(fail)
		check.Equal(t, fake(w.conn()).number, 1)
		close(closing)
	})
	bubble(t, "a reset is bounded and one that takes too long ends the connection", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		fake(c).reset = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		w := f.call("")
		f.releaseAs(c, health.Dirty)
		time.Sleep(5 * time.Second)
		check.Equal(t, fake(w.conn()).number, 1)
		check.Equal(t, w.took, 5*time.Second)
	})
	bubble(t, "a connection that is not clean after its reset is closed", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		fake(c).reset = func(context.Context) error { return errors.New("still dirty") }
		f.releaseAs(c, health.Dirty)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "a connection that breaks in its reset after a first use is no failed dial", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		fake(c).reset = func(context.Context) error { fake(c).is(health.Lost); return errors.New("broken") }
		f.releaseAs(c, health.Dirty)
		check.Equal(t, f.Stats().DialFailed, 0)
	})
	bubble(t, "connections that break in their reset renew the pool as lost ones do", func(t *testing.T) {
		renewed := 0
		f := newFixture(t, pool.Config{OnRenew: func() { renewed++ }})
		f.proven(3)
		for _, c := range f.gets(2) {
			fake(c).reset = func(context.Context) error { fake(c).is(health.Lost); return errors.New("broken") }
			f.releaseAs(c, health.Dirty)
		}
		check.Equal(t, renewed, 1)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "a connection in reset is its own holder in an AcquireError", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1, AcquireTimeout: time.Second})
		c := f.call("SET ROLE").conn()
		proceed := make(chan struct{})
		fake(c).reset = func(context.Context) error { <-proceed; return nil }
		f.releaseAs(c, health.Dirty)
		w := f.call("")
		time.Sleep(time.Second)
		e, _ := errors.AsType[*pool.AcquireError](w.fails())
		check.Equal(t, e.Holders[0].Text, "a reset of the session")
		close(proceed)
	})
	bubble(t, "the time of a reset is not part of the use", func(t *testing.T) {
		var used time.Duration
		f := newFixture(t, pool.Config{OnRelease: func(d time.Duration) { used += d }})
		c := f.get()
		fake(c).reset = func(context.Context) error { time.Sleep(time.Second); return nil }
		time.Sleep(2 * time.Second)
		f.releaseAs(c, health.Dirty)
		time.Sleep(time.Second)
		check.Equal(t, f.Stats().Idle, 1)
		check.Equal(t, used, 2*time.Second)
	})
	bubble(t, "Close ends a reset and its connection", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		fake(c).reset = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		f.releaseAs(c, health.Dirty)
		f.Close()
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "a dirty connection that is released after Close is closed", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		f.Close()
		f.releaseAs(c, health.Dirty)
		check.Equal(t, f.opened(), 0)
		check.Equal(t, fake(c).resets, 0)
		synctest.Wait()
	})
}
