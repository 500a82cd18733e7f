package pool_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pool"
)

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
			err := c.fails()
			check.Equal(t, errors.Is(err, last), true)
			check.Equal(t, pool.RefusalOf(err), pool.Refusal{Waited: patience, For: pool.WaitDial, Dial: last})
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
	bubble(t, "waiters get what comes back while the server is full", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		all := f.gets(13)
		f.dialsEnd(errFull)
		waiters := f.calls(17)
		time.Sleep(patience - time.Second)
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
	bubble(t, "a waiter whose patience is spent gets the error of a full server, though the pool has a connection", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.get()
		f.dialsEnd(errFull)
		w := f.call("")
		time.Sleep(patience)
		isError(t, w.fails(), errFull)
	})
	bubble(t, "AcquireTimeout bounds the wait for a connection to a full server", func(t *testing.T) {
		f := newFixture(t, pool.Config{AcquireTimeout: patience / 2})
		f.get()
		f.dialsEnd(errFull)
		w := f.call("")
		time.Sleep(patience / 2)
		err := w.fails()
		isError(t, err, pool.ErrTimeout)
		isError(t, err, errFull)
	})
	bubble(t, "a server that has room again serves the waiters within a pause", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.get()
		f.dialsEnd(errFull)
		waiters := f.calls(10)
		time.Sleep(patience / 2)
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
			c, err := f.Acquire(t.Context(), "", nil)
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
					if c, err := f.Acquire(context.Background(), "", nil); err == nil {
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
		check.Equal(t, f.Stats().Dialing, 3)
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
