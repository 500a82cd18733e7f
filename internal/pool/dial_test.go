package pool_test

import (
	"context"
	"errors"
	"io"
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

func TestFailuresThatLast(t *testing.T) {
	bubble(t, "a failure that lasts goes to the longest waiter and the others get their own dial's", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		waiters := f.calls(3)
		f.dialEnds(errLasting)
		isError(t, waiters[0].fails(), errLasting)
		check.Equal(t, served(waiters), 1)
		f.dialEnds(errLasting)
		isError(t, waiters[1].fails(), errLasting)
		f.dialEnds(nil)
		waiters[2].conn()
		check.Equal(t, f.Stats().Dialed, 3)
		check.Equal(t, f.Stats().DialFailed, 2)
	})
	bubble(t, "at the cap each waiter still learns of the failure", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 2})
		f.dialsAre(func(context.Context) error { time.Sleep(time.Second); return errLasting })
		waiters := f.calls(5)
		time.Sleep(3 * time.Second)
		check.Equal(t, served(waiters), 5)
		for _, w := range waiters {
			isError(t, w.fails(), errLasting)
		}
		check.Equal(t, f.Stats().Dialed, 5)
	})
	bubble(t, "a failure that lasts makes the next caller try at once", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsEnd(errLasting)
		isError(t, f.call("").fails(), errLasting)
		f.dialsEnd(nil)
		f.get()
	})
	bubble(t, "a failure that lasts replaces one that passes", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		first, second, third := f.call(""), f.call(""), f.call("")
		for range 3 {
			f.dialEnds(errPassing)
		}
		time.Sleep(time.Second) // the pause
		f.dialEnds(errLasting)  // the probe
		isError(t, first.fails(), errLasting)
		check.Equal(t, f.Stats().Dialing, 2) // each has its own dial again
		third.cancel()
		e, _ := errors.AsType[*pool.AcquireError](third.fails())
		check.Equal(t, e.Failure, nil) // none that is still true
		f.dialEnds(nil)
		second.conn()
	})
}

func TestFailuresThatPass(t *testing.T) {
	bubble(t, "a single probe tries again while the waiters have patience", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		waiters := f.calls(8)
		for range 8 {
			f.dialEnds(errPassing)
		}
		check.Equal(t, f.Stats().Dialed, 8)
		check.Equal(t, f.Stats().Dialing, 0)
		time.Sleep(time.Second)
		check.Equal(t, f.Stats().Dialing, 1)
		f.dialEnds(errPassing)
		time.Sleep(time.Second)
		check.Equal(t, f.Stats().Dialing, 1)
		check.Equal(t, served(waiters), 0)
		f.dialEnds(nil)
		waiters[0].conn()
		check.Equal(t, f.Stats().Dialing, 7)
	})
	bubble(t, "the first pause is short however many dials fail at once", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		waiters := f.calls(20)
		for range 20 {
			f.dialEnds(errPassing)
		}
		f.dialsEnd(nil)
		time.Sleep(20 * time.Millisecond)
		check.Equal(t, served(waiters), 20)
	})
	bubble(t, "the pauses between probes grow to half a second and no further", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.get() // so that the server is not away for the floor, or so
		var tries []time.Time
		f.dialsAre(func(context.Context) error { tries = append(tries, time.Now()); return errPassing })
		w := f.call("")
		time.Sleep(patience - time.Millisecond)
		check.Equal(t, w.waits(), true)
		for i, least := 1, 10*time.Millisecond; i < len(tries); i, least = i+1, min(2*least, 250*time.Millisecond) {
			if pause := tries[i].Sub(tries[i-1]); pause < least || pause > 2*least {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, least, 2*least)
			}
		}
		if len(tries) < 10 || len(tries) > 20 {
			t.Errorf("%d dials in %v", len(tries), patience)
		}
	})
	bubble(t, "the backoff begins anew after a connection was released whole", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		f.dialsEnd(errPassing)
		w := f.call("")
		time.Sleep(2 * time.Second)
		f.release(c)
		check.Equal(t, w.conn(), c)
		time.Sleep(time.Second) // the last pause
		f.dialsAre(func(context.Context) error { f.dialsEnd(nil); return errPassing })
		w = f.call("")
		time.Sleep(20 * time.Millisecond)
		w.conn()
	})
	bubble(t, "each waiter sees the last failure when its own patience is spent", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsEnd(errPassing)
		first := f.call("")
		time.Sleep(time.Second)
		second := f.call("")
		last := errors.Join(errPassing)
		f.dialsEnd(last)
		time.Sleep(time.Second)
		third := f.call("")
		time.Sleep(time.Minute)
		for _, c := range []*call{first, second, third} {
			check.Equal(t, c.fails(), last)
			check.Equal(t, c.took, patience)
		}
	})
	bubble(t, "patience is spent while the probe hangs", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		first := f.call("")
		f.dialEnds(errPassing)
		time.Sleep(time.Second)
		second := f.call("") // the probe is under way, and no dial fails after this
		time.Sleep(time.Minute)
		isError(t, first.fails(), errPassing)
		check.Equal(t, first.took, patience)
		isError(t, second.fails(), errPassing)
		check.Equal(t, second.took, patience)
	})
	bubble(t, "a caller that comes long after a failure has all of its patience while the probe hangs", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsEnd(errPassing)
		f.call("").cancel()
		time.Sleep(time.Hour)
		f.holdDials()
		w := f.call("")
		time.Sleep(patience - time.Millisecond)
		check.Equal(t, w.waits(), true)
		time.Sleep(time.Millisecond)
		isError(t, w.fails(), errPassing)
	})
	bubble(t, "a caller that comes during a pause waits for its end", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsAre(func(context.Context) error { f.dialsEnd(nil); return errPassing })
		first := f.call("")
		second := f.call("")
		check.Equal(t, f.Stats().Dialed, 1)
		time.Sleep(20 * time.Millisecond)
		first.conn()
		second.conn()
		check.Equal(t, f.Stats().Dialed, 3)
	})
	bubble(t, "a waiter that leaves during a pause ends the probing", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsEnd(errPassing)
		w := f.call("")
		w.cancel()
		isError(t, w.fails(), errPassing)
		time.Sleep(time.Hour)
		check.Equal(t, f.Stats().Dialed, 1)
	})
	bubble(t, "OnReconnect is called once for an outage", func(t *testing.T) {
		reconnects := 0
		f := newFixture(t, pool.Config{OnReconnect: func() { reconnects++ }})
		f.get()
		check.Equal(t, reconnects, 0)
		f.dialsEnd(errPassing)
		waiters := f.calls(5)
		time.Sleep(time.Second)
		f.dialsEnd(nil)
		time.Sleep(time.Second)
		check.Equal(t, served(waiters), 5)
		check.Equal(t, reconnects, 1)
	})
}

func TestFullServer(t *testing.T) {
	bubble(t, "waiters beyond their patience get what comes back while the server is full", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		all := f.gets(13)
		f.dialsEnd(errFull)
		waiters := f.calls(17)
		time.Sleep(8 * time.Second)
		check.Equal(t, served(waiters), 0)
		f.release(all...)
		check.Equal(t, served(waiters), 13)
		for _, w := range waiters[:13] {
			f.release(w.conn())
		}
		check.Equal(t, served(waiters), 17)
		for _, w := range waiters {
			w.conn()
		}
	})
	bubble(t, "a full server that has no connection of the pool fails its waiters", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsEnd(errFull)
		w := f.call("")
		time.Sleep(patience)
		isError(t, w.fails(), errFull)
	})
	bubble(t, "patience counts again once the last connection to a full server is lost", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		f.release(c)
		f.get()
		f.dialsEnd(errFull)
		w := f.call("")
		time.Sleep(time.Minute)
		f.releaseAs(c, health.Lost)
		time.Sleep(time.Second)
		isError(t, w.fails(), errFull)
	})
	bubble(t, "AcquireTimeout bounds the wait for a connection to a full server", func(t *testing.T) {
		f := newFixture(t, pool.Config{AcquireTimeout: 10 * time.Second})
		f.get()
		f.dialsEnd(errFull)
		w := f.call("")
		time.Sleep(10 * time.Second)
		err := w.fails()
		isError(t, err, pool.ErrTimeout)
		isError(t, err, errFull)
	})
	bubble(t, "a server that has room again serves the waiters within a pause", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.get()
		f.dialsEnd(errFull)
		waiters := f.calls(10)
		time.Sleep(time.Minute)
		f.dialsEnd(nil)
		time.Sleep(time.Second)
		check.Equal(t, served(waiters), 10)
	})
}

func TestConnectionsLostEarly(t *testing.T) {
	bubble(t, "a server that ends each session at once gets few dials", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.prepare = func(s *server) { s.state, s.gone = health.Lost, true }
		until := time.Now().Add(3 * time.Second)
		tries := 0
		for time.Now().Before(until) { // as a handle does with one query
			c, err := f.Acquire(t.Context(), "")
			if err != nil {
				isError(t, err, io.EOF)
				break
			}
			f.Release(c)
			tries++
		}
		if tries < 5 || tries > 20 {
			t.Errorf("%d connections in three seconds", tries)
		}
		s := f.Stats()
		check.Equal(t, s.DialFailed, s.Dialed)
	})
	bubble(t, "many callers of a server that ends each session at once dial little", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 40})
		f.dialsAre(func(context.Context) error { time.Sleep(5 * time.Millisecond); return nil })
		f.prepare = func(s *server) { s.state, s.gone = health.Lost, true }
		until := time.Now().Add(3 * time.Second)
		for range 40 {
			go func() {
				for time.Now().Before(until) {
					if c, err := f.Acquire(context.Background(), ""); err == nil {
						time.Sleep(time.Millisecond) // a round trip
						f.Release(c)
					}
				}
			}()
		}
		time.Sleep(10 * time.Second)
		if n := f.Stats().Dialed; n > 100 {
			t.Errorf("%d dials in three seconds", n)
		}
	})
	bubble(t, "after an early loss the pool dials one at a time until a connection was used whole", func(t *testing.T) {
		reconnects := 0
		f := newFixture(t, pool.Config{OnReconnect: func() { reconnects++ }})
		f.releaseAs(f.get(), health.Lost)
		f.holdDials()
		waiters := f.calls(5)
		time.Sleep(time.Second)
		check.Equal(t, f.Stats().Dialing, 1)
		f.dialEnds(nil)
		check.Equal(t, f.Stats().Dialing, 1)
		f.release(waiters[0].conn())
		waiters[1].conn()
		f.call("")
		check.Equal(t, f.Stats().Dialing, 4)
		check.Equal(t, reconnects, 0)
	})
	bubble(t, "a waiter sees that the server ends new connections when its patience is spent", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		first, second := f.call(""), f.call("")
		f.dialEnds(nil)
		f.releaseAs(first.conn(), health.Lost)
		time.Sleep(patience)
		isError(t, second.fails(), io.EOF)
		contains(t, second.fails().Error(), "before its first use")
	})
	bubble(t, "a connection that was released whole once is no failed dial when it is lost", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		f.release(c)
		f.get()
		f.releaseAs(c, health.Lost)
		check.Equal(t, f.Stats().DialFailed, 0)
		f.get() // without a pause
	})
	bubble(t, "an unfit connection that the server did not end is no failed dial", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.releaseAs(f.get(), health.Unfit)
		f.releaseAs(f.get(), health.Doubtful)
		check.Equal(t, f.Stats().DialFailed, 0)
		f.get()
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

func TestFloor(t *testing.T) {
	bubble(t, "the floor is exact and filled one by one from the first use on", func(t *testing.T) {
		for _, floor := range []int{2, 5, 20} {
			f := newFixture(t, pool.Config{MinIdle: floor, CheckPeriod: time.Second})
			dialing, most := 0, 0
			f.dialsAre(func(context.Context) error {
				dialing++
				most = max(most, dialing)
				time.Sleep(time.Millisecond)
				dialing--
				return nil
			})
			time.Sleep(time.Minute)
			check.Equal(t, f.opened(), 0)
			w := f.call("")
			time.Sleep(time.Minute)
			check.Equal(t, f.opened(), floor)
			check.Equal(t, most, 1)
			f.release(w.conn())
			time.Sleep(time.Minute)
			check.Equal(t, f.opened(), floor)
			check.Equal(t, f.Stats().Dialed, int64(floor))
		}
	})
	bubble(t, "connections in use count towards the floor", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 3, CheckPeriod: time.Second})
		f.gets(3)
		time.Sleep(time.Minute)
		check.Equal(t, f.opened(), 3)
	})
	bubble(t, "the floor is filled up again after losses", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 3, CheckPeriod: time.Second})
		c := f.get()
		f.releaseAs(c, health.Unfit)
		check.Equal(t, f.opened(), 3)
		for _, s := range f.made() {
			s.end()
		}
		time.Sleep(time.Second)
		check.Equal(t, f.opened(), 3)
		check.Equal(t, f.Stats().Dialed, 7)
	})
	bubble(t, "the floor stays below the cap", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 2, MinIdle: 3, CheckPeriod: time.Second})
		f.get()
		time.Sleep(time.Minute)
		check.Equal(t, f.opened(), 2)
	})
	bubble(t, "after a failure that lasts the floor waits for the next look", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 3, CheckPeriod: 10 * time.Second})
		f.dialsEnd(errLasting)
		isError(t, f.call("").fails(), errLasting)
		dialed := f.Stats().Dialed
		time.Sleep(9 * time.Second)
		check.Equal(t, f.Stats().Dialed, dialed)
		time.Sleep(90 * time.Second)
		if more := f.Stats().Dialed - dialed; more < 4 || more > 9 {
			t.Errorf("%d dials in nine looks", more)
		}
		f.dialsEnd(nil)
		time.Sleep(20 * time.Second)
		check.Equal(t, f.opened(), 3)
	})
	bubble(t, "a failure that lasts does not make a floor without looks dial in a loop", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 3})
		f.dialsEnd(errLasting)
		isError(t, f.call("").fails(), errLasting)
		time.Sleep(time.Minute)
		if n := f.Stats().Dialed; n > 2 {
			t.Errorf("%d dials", n)
		}
	})
	bubble(t, "the floor is filled when a server that was away is back", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 3, CheckPeriod: 10 * time.Second})
		f.dialsEnd(errPassing)
		w := f.call("")
		time.Sleep(time.Minute)
		isError(t, w.fails(), errPassing)
		if n := f.Stats().Dialed; n > 60*5 {
			t.Errorf("%d dials in a minute", n)
		}
		f.dialsEnd(nil)
		time.Sleep(time.Second)
		check.Equal(t, f.opened(), 3)
	})
	bubble(t, "the floor is not filled after Close", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 3, CheckPeriod: time.Second})
		f.get()
		f.Close()
		dialed := f.Stats().Dialed
		time.Sleep(time.Minute)
		check.Equal(t, f.Stats().Dialed, dialed)
	})
}

func TestWarmUp(t *testing.T) {
	warm := func(f *fixture, n int) chan error {
		done := make(chan error, 1)
		go func() { done <- f.WarmUp(context.Background(), n) }()
		synctest.Wait()
		return done
	}
	bubble(t, "a warm-up opens exactly as many connections as it says, all at once", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		done := warm(f, 5)
		check.Equal(t, f.Stats().Dialing, 5)
		for range 5 {
			check.Equal(t, len(done), 0)
			f.dialEnds(nil)
		}
		check.OK(t, <-done)
		check.Equal(t, f.opened(), 5)
		check.Equal(t, f.Stats().Idle, 5)
	})
	bubble(t, "a warm-up beside a caller and the floor opens no more than it says", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 5, CheckPeriod: time.Second})
		f.holdDials()
		w := f.call("")
		done := warm(f, 5)
		check.Equal(t, f.Stats().Dialing, 5)
		for range 5 {
			f.dialEnds(nil)
		}
		check.OK(t, <-done)
		f.release(w.conn())
		time.Sleep(time.Minute)
		check.Equal(t, f.opened(), 5)
		check.Equal(t, f.Stats().Dialed, 5)
	})
	bubble(t, "a warm-up counts connections that are there", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.release(f.gets(2)[0])
		check.OK(t, f.WarmUp(t.Context(), 2))
		check.OK(t, f.WarmUp(t.Context(), 0))
		check.Equal(t, f.Stats().Dialed, 2)
		check.OK(t, f.WarmUp(t.Context(), 3))
		check.Equal(t, f.Stats().Dialed, 3)
	})
	bubble(t, "two warm-ups share their connections", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		small, large := warm(f, 2), warm(f, 3)
		check.Equal(t, f.Stats().Dialing, 3)
		f.dialEnds(nil)
		f.dialEnds(nil)
		check.OK(t, <-small)
		check.Equal(t, len(large), 0)
		f.dialEnds(nil)
		check.OK(t, <-large)
	})
	bubble(t, "the first failure ends a warm-up and is its error", func(t *testing.T) {
		for _, failure := range []error{errLasting, errPassing} {
			f := newFixture(t, pool.Config{})
			f.holdDials()
			done := warm(f, 3)
			f.dialEnds(nil)
			f.dialEnds(failure)
			isError(t, <-done, failure)
			f.dialEnds(nil)
			check.Equal(t, f.Stats().Idle, 2)
			time.Sleep(time.Minute)
			check.Equal(t, f.Stats().Dialed, 3)
		}
	})
	bubble(t, "a warm-up fails when the server ends a new connection before its first use", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		f.holdDials()
		done := warm(f, 2)
		f.releaseAs(c, health.Lost)
		isError(t, <-done, io.EOF)
	})
	bubble(t, "a warm-up beyond the cap is an error", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 3})
		err := f.WarmUp(t.Context(), 4)
		check.Equal(t, err.Error(), "cannot warm up 4 connections: the pool holds at most 3")
		check.Equal(t, f.opened(), 0)
		check.OK(t, f.WarmUp(t.Context(), 3))
	})
	bubble(t, "a warm-up whose context ends asks for no further connection", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 5})
		all := f.gets(3)
		f.holdDials()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.WarmUp(ctx, 5) }()
		synctest.Wait()
		check.Equal(t, f.Stats().Dialing, 2)
		cancel()
		isError(t, <-done, context.Canceled)
		f.releaseAs(all[0], health.Unfit)
		synctest.Wait()
		check.Equal(t, f.Stats().Dialing, 2)
	})
	bubble(t, "Close ends a warm-up", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		done := warm(f, 3)
		f.Close()
		isError(t, <-done, pool.ErrClosed)
		isError(t, f.WarmUp(t.Context(), 1), pool.ErrClosed)
	})
	bubble(t, "a warm-up waits for connections that are being closed at the cap", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 2})
		closing := make(chan struct{})
		all := f.gets(2)
		fake(all[0]).close = func() { <-closing }
		f.releaseAs(all[0], health.Unfit)
		done := warm(f, 2)
		check.Equal(t, f.Stats().Dialing, 0)
		close(closing)
		check.OK(t, <-done)
	})
}

func TestADialsContext(t *testing.T) {
	type key struct{}
	bubble(t, "a dial has the values of the caller that waits for it, and does not end with that caller", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		var seen any
		f.holdDials()
		held := f.answer
		f.dialsAre(func(ctx context.Context) error {
			seen = ctx.Value(key{})
			return held(ctx)
		})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "a request"))
		done := make(chan error)
		go func() {
			_, err := f.Acquire(ctx, "")
			done <- err
		}()
		synctest.Wait()
		cancel()
		isError(t, <-done, context.Canceled)
		f.dialEnds(nil)
		check.Equal(t, seen, any("a request"))
		check.Equal(t, f.Stats().Idle, 1)
	})
	bubble(t, "a dial ends with the pool", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		w := f.call("")
		synctest.Wait()
		f.Close()
		isError(t, w.fails(), pool.ErrClosed)
		check.Equal(t, f.opened(), 0)
	})
}

func TestEnsure(t *testing.T) {
	bubble(t, "Ensure makes a connection if there is none and keeps it idle", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		check.OK(t, f.Ensure(t.Context()))
		check.Equal(t, f.Stats().Idle, 1)
		check.OK(t, f.Ensure(t.Context()))
		f.get()
		check.OK(t, f.Ensure(t.Context()))
		check.Equal(t, f.Stats().Dialed, 1)
	})
	bubble(t, "Ensure returns why no connection can be made", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsEnd(errLasting)
		isError(t, f.Ensure(t.Context()), errLasting)
		f.Close()
		isError(t, f.Ensure(t.Context()), pool.ErrClosed)
	})
	bubble(t, "Ensure does not prove a connection", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		check.OK(t, f.Ensure(t.Context()))
		f.releaseAs(f.get(), health.Lost)
		check.Equal(t, f.Stats().DialFailed, 1)
	})
	bubble(t, "Ensure hands its connection to a waiter", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		f.holdDials()
		done := make(chan error)
		go func() { done <- f.Ensure(context.Background()) }()
		synctest.Wait()
		w := f.call("")
		f.dialEnds(nil)
		check.OK(t, <-done)
		w.conn()
	})
	bubble(t, "Ensure closes its connection if the pool was closed meanwhile", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		f.release(f.get())
		synctest.Wait()
		f.Close()
		isError(t, f.Ensure(t.Context()), pool.ErrClosed)
		check.Equal(t, f.opened(), 0)
	})
}
