package pool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pool"
)

// reasons returns why the pool has dialed: "first_use 1, demand 1".
func (f *fixture) reasons() string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, d := range f.why {
		all = append(all, fmt.Sprintf("%v %d", d.Reason, d.Attempt))
	}
	return strings.Join(all, ", ")
}

func TestReasonsOfDials(t *testing.T) {
	bubble(t, "the first connection of a pool is for its first use, another one is for demand", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.gets(2)
		check.Equal(t, f.reasons(), "first_use 1, demand 1")
	})
	bubble(t, "a dial after failures has the reason of the first one, and counts on", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsEnd(errPassing)
		w := f.call("")
		check.Equal(t, w.waits(), true)
		f.dialsEnd(nil)
		time.Sleep(time.Second)
		w.conn()
		check.Equal(t, f.reasons(), "first_use 1, first_use 2")
		f.get()
		check.Equal(t, f.reasons(), "first_use 1, first_use 2, demand 1")
	})
	bubble(t, "a connection that was lost is replaced", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.proven(1)
		f.releaseAs(f.get(), health.Lost)
		f.get()
		check.Equal(t, f.reasons(), "first_use 1, lost 1")
	})
	bubble(t, "the connections of a generation that has ended are renewed, and further ones are for demand",
		func(t *testing.T) {
			f := newFixture(t, pool.Config{})
			f.proven(2)
			f.releaseAs(f.get(), health.Outdated)
			f.gets(3)
			check.Equal(t, f.reasons(), "first_use 1, demand 1, renewal 1, renewal 1, demand 1")
		})
	bubble(t, "a warm-up and the floor are reasons", func(t *testing.T) {
		f := newFixture(t, pool.Config{MinIdle: 2})
		check.OK(t, f.WarmUp(t.Context(), 1))
		check.Equal(t, f.reasons(), "warm_up 1, floor 1")
	})
}

func TestWhatCallersWaitFor(t *testing.T) {
	bubble(t, "a caller that takes an idle connection waits for nothing", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.proven(1)
		check.Equal(t, f.get().WaitedFor(), pool.NoWait)
	})
	bubble(t, "a caller that gets a new connection waited for a dial", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		check.Equal(t, f.get().WaitedFor(), pool.WaitDial)
	})
	bubble(t, "a caller that gets a released connection waited for the pool", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		w := f.call("")
		check.Equal(t, w.waits(), true)
		time.Sleep(time.Second)
		f.release(c)
		c = w.conn()
		check.Equal(t, c.WaitedFor(), pool.WaitPool)
		check.Equal(t, c.Waited(), time.Second)
	})
	bubble(t, "a caller that gets a connection after its reset waited for the reset", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1})
		c := f.get()
		w := f.call("")
		check.Equal(t, w.waits(), true)
		f.releaseAs(c, health.Dirty)
		check.Equal(t, w.conn().WaitedFor(), pool.WaitReset)
	})
	bubble(t, "a caller that came upon a dead idle connection waited from then on", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		all := f.proven(2)
		dead := fake(all[0])
		dead.fit = func(context.Context, time.Duration, health.Trust) bool {
			time.Sleep(time.Second) // a ping without an answer
			return false
		}
		w := f.call("")
		time.Sleep(time.Minute)
		c := w.conn()
		check.Equal(t, c.WaitedFor(), pool.WaitCheck)
		check.Equal(t, c.Waited(), time.Second)
	})
	bubble(t, "a caller in vain waited for the pool that is full, or for the dials that fail", func(t *testing.T) {
		f := newFixture(t, pool.Config{Max: 1, AcquireTimeout: time.Second})
		c := f.get()
		w := f.call("")
		time.Sleep(time.Minute)
		err := w.fails()
		check.Equal(t, pool.RefusalOf(err), pool.Refusal{Waited: time.Second, For: pool.WaitPool})
		f.dialsEnd(errPassing)
		f.releaseAs(c, health.Lost)
		w = f.call("")
		time.Sleep(time.Minute)
		err = w.fails()
		check.Equal(t, pool.RefusalOf(err), pool.Refusal{Waited: time.Second, For: pool.WaitDial, Dial: errPassing})
	})
	bubble(t, "a caller between two dials counts as waiting", func(t *testing.T) {
		f := newFixture(t, pool.Config{})
		f.dialsEnd(errPassing)
		w := f.call("")
		check.Equal(t, w.waits(), true)
		check.Equal(t, f.Stats().Dialing, 0)
		check.Equal(t, f.Stats().Waiting, 1)
		f.dialsEnd(nil)
		time.Sleep(time.Second)
		w.conn()
	})
}
