package pool_test

import (
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pool"
)

func TestLifetime(t *testing.T) {
	bubble(t, "an idle connection ends with its lifetime at the next look", func(t *testing.T) {
		f := newFixture(t, pool.Config{MaxLifetime: time.Hour, CheckPeriod: time.Minute})
		f.proven(2)
		time.Sleep(time.Hour - time.Second)
		check.Equal(t, f.opened(), 2)
		time.Sleep(time.Minute)
		check.Equal(t, f.opened(), 0)
		check.Equal(t, f.Stats().ClosedForAge, 2)
	})
	bubble(t, "a connection whose lifetime is over is not handed out, handed over or kept", func(t *testing.T) {
		f := newFixture(t, pool.Config{MaxLifetime: time.Hour, Max: 1})
		c := f.get()
		w := f.call("")
		time.Sleep(time.Hour)
		f.release(c)
		c = w.conn()
		check.Equal(t, fake(c).number, 1)
		time.Sleep(time.Hour)
		f.release(c)
		check.Equal(t, f.opened(), 0)
		f.release(f.get())
		time.Sleep(time.Hour)
		check.Equal(t, fake(f.get()).number, 3)
		check.Equal(t, f.Stats().ClosedForAge, 3)
	})
	bubble(t, "jitter makes lifetimes end within its bound and not all at once", func(t *testing.T) {
		f := newFixture(t, pool.Config{MaxLifetime: time.Hour, LifetimeJitter: time.Hour, CheckPeriod: time.Second})
		f.proven(50)
		time.Sleep(time.Hour)
		check.Equal(t, f.opened(), 50)
		time.Sleep(30 * time.Minute)
		if n := f.opened(); n < 5 || n > 45 {
			t.Errorf("%d of 50 connections are left at half of the jitter", n)
		}
		time.Sleep(30*time.Minute + time.Second)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "without a lifetime jitter ends no connection", func(t *testing.T) {
		f := newFixture(t, pool.Config{LifetimeJitter: time.Hour, CheckPeriod: time.Minute})
		f.proven(2)
		time.Sleep(100 * time.Hour)
		check.Equal(t, f.opened(), 2)
	})
	bubble(t, "a connection that expires earlier than its lifetime ends when it expires", func(t *testing.T) {
		f := newFixture(t, pool.Config{MaxLifetime: time.Hour, CheckPeriod: time.Second})
		f.prepare = func(s *server) { s.expires = time.Now().Add(time.Minute) }
		f.proven(1)
		f.prepare = func(s *server) { s.expires = time.Now().Add(2 * time.Hour) }
		f.release(f.gets(2)...)
		time.Sleep(time.Minute)
		check.Equal(t, f.opened(), 1)
		time.Sleep(time.Hour)
		check.Equal(t, f.opened(), 0)
	})
	bubble(t, "RetireExpired ends idle connections that have expired", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.prepare = func(s *server) { s.expires = time.Now().Add(time.Minute) }
		f.proven(1)
		f.prepare = nil
		f.release(f.gets(2)...)
		f.RetireExpired()
		check.Equal(t, f.opened(), 2)
		time.Sleep(time.Minute)
		f.RetireExpired()
		check.Equal(t, f.opened(), 1)
	})
	bubble(t, "RetireOlder ends idle connections of that age now and others when they come back", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		old := f.gets(2)
		time.Sleep(time.Minute)
		young := f.gets(2)
		f.release(young[0], old[0])
		f.RetireOlder(30 * time.Second)
		check.Equal(t, f.opened(), 3)
		check.Equal(t, f.Stats().Idle, 1)
		f.release(old[1], young[1])
		check.Equal(t, f.Stats().Idle, 2)
		check.Equal(t, f.opened(), 2)
		check.Equal(t, f.Stats().ClosedForAge, 2)
	})
	bubble(t, "a connection that is as old as RetireOlder says stays", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.proven(1)
		time.Sleep(time.Minute)
		f.RetireOlder(time.Minute)
		check.Equal(t, f.opened(), 1)
	})
}

func TestIdleTime(t *testing.T) {
	bubble(t, "connections that were idle too long end, the longest idle first, down to the floor", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 2, MaxIdleTime: time.Minute, CheckPeriod: time.Second})
		all := f.proven(5)
		time.Sleep(59 * time.Second)
		check.Equal(t, f.opened(), 5)
		time.Sleep(time.Second)
		check.Equal(t, f.opened(), 2)
		check.Equal(t, f.Stats().ClosedForIdle, 3)
		time.Sleep(time.Hour)
		check.Equal(t, f.Stats().Dialed, 5)
		check.Equal(t, f.get(), all[0])
		check.Equal(t, f.get(), all[1])
	})
	bubble(t, "connections in use count towards the floor when idle ones end", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 2, MaxIdleTime: time.Minute, CheckPeriod: time.Second})
		f.proven(4)
		f.gets(2)
		time.Sleep(time.Hour)
		check.Equal(t, f.Stats().Idle, 0)
	})
	bubble(t, "a connection that is used now and then stays", func(t *testing.T) {
		f := newFixture(t, pool.Config{MaxIdleTime: time.Minute, CheckPeriod: time.Second})
		for range 10 {
			f.release(f.get())
			time.Sleep(59 * time.Second)
		}
		check.Equal(t, f.Stats().Dialed, 1)
	})
	bubble(t, "RetireIdle ends the connections that have been idle as long, except the floor's", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 1})
		f.release(f.get())
		f.WarmUp(t.Context(), 4)
		time.Sleep(time.Minute)
		f.release(f.get())
		f.RetireIdle(time.Minute)
		check.Equal(t, f.opened(), 1)
		check.Equal(t, f.Stats().ClosedForIdle, 3)
	})
	bubble(t, "without a bound idle connections stay", func(t *testing.T) {
		f := newFixture(t, pool.Config{CheckPeriod: time.Minute})
		f.proven(3)
		time.Sleep(100 * time.Hour)
		check.Equal(t, f.opened(), 3)
	})
	bubble(t, "the pool looks at idle connections however often others are released", func(t *testing.T) {
		f := newFixture(t, pool.Config{CheckPeriod: time.Second})
		all := f.proven(2)
		fake(all[1]).end()
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			f.release(f.get())
		}
		check.Equal(t, f.opened(), 1)
	})
	bubble(t, "an idle connection that the server has closed ends at the next look", func(t *testing.T) {
		f := newFixture(t, pool.Config{CheckPeriod: time.Minute})
		all := f.proven(3)
		fake(all[1]).end()
		time.Sleep(time.Minute)
		check.Equal(t, f.opened(), 2)
		f.gets(2)
		time.Sleep(time.Hour)
		f.release(all[0])
		fake(all[0]).end()
		time.Sleep(time.Minute)
		check.Equal(t, f.opened(), 1)
	})
}
