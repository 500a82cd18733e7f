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

func TestClose(t *testing.T) {
	bubble(t, "Close ends waits, dials and idle connections, and does not wait for those in use", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 4})
		all := f.gets(3)
		f.release(all[0])
		f.get()
		f.release(all[1])
		f.holdDials()
		f.get()
		waiters := f.calls(3)
		begun := time.Now()
		f.Close()
		check.Equal(t, time.Since(begun), 0)
		for _, w := range waiters {
			isError(t, w.fails(), pool.ErrClosed)
		}
		check.Equal(t, f.opened(), 3)
		check.Equal(t, f.Stats().Dialing, 0)
		f.release(all...)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "Close waits until idle connections are closed, all at once", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.prepare = func(s *server) { s.close = func() { time.Sleep(time.Second) } }
		f.proven(5)
		begun := time.Now()
		f.Close()
		check.Equal(t, time.Since(begun), time.Second)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "a closed pool hands out nothing", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.Close()
		isError(t, f.call("").fails(), pool.ErrClosed)
		check.Equal(t, f.Stats().Dialed, 0)
	})
	bubble(t, "a second Close does nothing", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		f.Close()
		f.Close()
		check.Equal(t, f.opened(), 1)
		f.release(c)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "a connection that a dial makes in spite of Close is closed", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsAre(func(ctx context.Context) error { <-ctx.Done(); return nil })
		w := f.call("")
		f.Close()
		isError(t, w.fails(), pool.ErrClosed)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "connections that do not come back within five seconds are cut off", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		all := f.gets(3)
		f.Close()
		time.Sleep(4 * time.Second)
		f.release(all[0])
		check.Equal(t, f.opened(), 2)
		time.Sleep(time.Second)
		check.Equal(t, f.opened(), 0)
		check.Equal(t, f.Stats().InUse, 0)
		f.release(all[1]) // the user notices later
		check.Equal(t, f.Stats().DialFailed, 0)
		check.Equal(t, f.Stats().Total, 0)
	})
	bubble(t, "a connection is not cut off while the server works for its user", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c, other := f.get(), f.get()
		fake(c).works = true
		f.Close()
		time.Sleep(time.Hour)
		check.Equal(t, f.opened(), 1)
		fake(c).mu.Lock()
		fake(c).works = false
		fake(c).mu.Unlock()
		time.Sleep(5 * time.Second)
		check.Equal(t, f.opened(), 0)
		f.release(other, c)
	})
	bubble(t, "no look, pause, backoff or floor goes on after Close", func(t *testing.T) {
		f := newFixture(t, pool.Config{
			MinIdle: 3, CheckPeriod: time.Second, MaxIdleTime: time.Second, AcquireTimeout: time.Minute,
		})
		all := f.gets(2)
		f.dialsEnd(errPassing)
		f.call("")
		f.call("")
		f.Close()
		dialed := f.Stats().Dialed
		f.releaseAs(all[0], health.Lost)
		time.Sleep(time.Hour)
		f.release(all[1])
		check.Equal(t, f.Stats().Dialed, dialed)
		check.Equal(t, f.Stats().Total, 0)
	})
	bubble(t, "a caller that checks an idle connection while the pool is closed gets it", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		f.release(c)
		ping := make(chan struct{})
		fake(c).fit = func(context.Context, time.Duration, health.Trust) bool { <-ping; return true }
		w := f.call("")
		f.Close()
		close(ping)
		check.Equal(t, w.conn(), c)
		f.release(c)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "connections that close in the background are closed when Close returns", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		c := f.get()
		fake(c).close = func() { time.Sleep(time.Second) }
		f.releaseAs(c, health.Unfit)
		f.Close()
		check.Equal(t, f.opened(), 0)
		synctest.Wait()
	})
}
