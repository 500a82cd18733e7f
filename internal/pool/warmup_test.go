package pool_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pool"
)

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
	bubble(t, "a warm-up is a first use, from which on the floor is kept", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 3, CheckPeriod: time.Second})
		check.OK(t, f.WarmUp(t.Context(), 1))
		check.Equal(t, f.opened(), 3)
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
	bubble(t, "Ensure closes its connection if the pool is closed meanwhile", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.holdDials()
		proceed := make(chan struct{})
		f.OnWait(func() { <-proceed })
		done := make(chan error)
		go func() { done <- f.Ensure(context.Background()) }()
		f.dialEnds(nil) // Ensure has a connection, and does not know it yet
		f.Close()
		close(proceed)
		check.OK(t, <-done)
		check.Equal(t, f.opened(), 0)
	})
}
