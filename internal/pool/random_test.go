package pool_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pool"
)

// TestRandom lets 40 callers loose on a server that fails in all ways. PGSAFE_TEST_SEED repeats the
// choices of one run, though not its interleaving.
func TestRandom(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("PGSAFE_TEST_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		check.OK(t, err)
	}
	t.Logf("PGSAFE_TEST_SEED=%d", seed)
	for name, config := range map[string]pool.Config{
		"at a cap":               {Max: 8},
		"at a cap of one":        {Max: 1},
		"with a floor":           {Max: 20, MinIdle: 5},
		"without a cap":          {MinIdle: 2},
		"with short lives":       {Max: 10, MaxLifetime: 20 * time.Millisecond, LifetimeJitter: 20 * time.Millisecond},
		"with a short idle time": {Max: 10, MinIdle: 3, MaxIdleTime: 3 * time.Millisecond},
	} {
		bubble(t, "no caller is forgotten and no connection is shared "+name, func(t *testing.T) {
			config.AcquireTimeout = time.Minute // which is never reached
			config.SlowDial = 100 * time.Millisecond
			config.CheckPeriod = 10 * time.Millisecond
			runRandom(t, config, seed)
		})
	}
}

// storm is a run of TestRandom.
type storm struct {
	*fixture
	seed    uint64
	closing atomic.Bool
	users   sync.Map // *server to the caller's number
	good    atomic.Int64

	mu  sync.Mutex
	rnd *rand.Rand // of the server
}

func runRandom(t *testing.T, config pool.Config, seed uint64) {
	s := &storm{fixture: newFixture(t, config), seed: seed, rnd: rand.New(rand.NewPCG(seed, 0))}
	s.dialsAre(s.dial)
	s.prepare = s.harm
	var callers sync.WaitGroup
	for i := range 40 {
		callers.Go(func() { s.caller(uint64(i + 1)) })
	}
	callers.Go(s.owner)
	time.Sleep(2 * time.Second)
	s.closing.Store(true)
	s.Close()
	callers.Wait()
	time.Sleep(time.Minute)
	check.Equal(t, s.opened(), 0)
	stats := s.Stats()
	check.Equal(t, stats.Total, 0)
	check.Equal(t, stats.Waiting, 0)
	if s.good.Load() < 20 {
		t.Errorf("only %d calls were served", s.good.Load())
	}
}

// chance returns true in n of 1000 cases.
func (s *storm) chance(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rnd.IntN(1000) < n
}

func (s *storm) upTo(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.rnd.Int64N(int64(d)))
}

// dial is a server that is slow, full, starting or hostile now and then.
func (s *storm) dial(ctx context.Context) error {
	latency := s.upTo(5 * time.Millisecond)
	if s.chance(20) {
		latency = time.Second
	}
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		if s.chance(500) {
			return ctx.Err()
		}
	}
	switch {
	case s.chance(100):
		return errPassing
	case s.chance(50):
		return errFull
	case s.chance(50):
		return errLasting
	}
	return nil
}

// harm makes a new connection unreliable.
func (s *storm) harm(c *server) {
	c.gone = s.chance(500)
	c.fit = func(context.Context, time.Duration, health.Trust) bool {
		time.Sleep(s.upTo(time.Millisecond))
		return !s.chance(20)
	}
	c.reset = func(context.Context) error {
		time.Sleep(s.upTo(3 * time.Millisecond))
		if s.chance(100) {
			return errors.New("the reset fails")
		}
		return nil
	}
	c.close = func() { time.Sleep(s.upTo(5 * time.Millisecond)) }
	if s.chance(100) {
		c.expires = time.Now().Add(10 * time.Millisecond)
	}
}

// caller acquires and releases until the pool is closed.
func (s *storm) caller(number uint64) {
	rnd := rand.New(rand.NewPCG(s.seed, number))
	for {
		ctx, cancel := context.Background(), func() {}
		if rnd.IntN(2) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(10_000))*time.Microsecond)
		}
		c, err := s.Acquire(ctx, strconv.FormatUint(number, 10), nil)
		cancel()
		switch {
		case err == nil:
			s.use(rnd, c, number)
		case errors.Is(err, pool.ErrClosed):
			if !s.closing.Load() {
				s.t.Error("the pool is closed before Close")
			}
			return
		case errors.Is(err, pool.ErrTimeout):
			s.t.Errorf("caller %d was forgotten: %v", number, err)
		}
	}
}

func (s *storm) use(rnd *rand.Rand, c *pool.Conn, number uint64) {
	s.good.Add(1)
	if other, shared := s.users.LoadOrStore(c.Server, number); shared {
		s.t.Errorf("callers %d and %d have the same connection", number, other)
	}
	if state := fake(c).State(); state != health.Clean && !s.closing.Load() {
		s.t.Errorf("caller %d got a connection in the state %d", number, state)
	}
	time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
	if rnd.IntN(500) == 0 {
		time.Sleep(time.Second)
	}
	switch n := rnd.IntN(1000); {
	case n < 100:
		fake(c).is(health.Dirty)
	case n < 120:
		fake(c).is(health.Unfit)
	case n < 140:
		fake(c).is(health.Lost)
	case n < 150:
		fake(c).is(health.Doubtful)
	case n < 155:
		fake(c).is(health.Outdated)
	}
	s.users.Delete(c.Server)
	s.Release(c)
}

// owner does what the owner of a pool does now and then.
func (s *storm) owner() {
	rnd := rand.New(rand.NewPCG(s.seed, 1000))
	for !s.closing.Load() {
		time.Sleep(time.Duration(rnd.IntN(10_000)) * time.Microsecond)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		switch rnd.IntN(6) {
		case 0:
			s.RetireOlder(time.Duration(rnd.IntN(50)) * time.Millisecond)
		case 1:
			s.RetireIdle(time.Duration(rnd.IntN(5)) * time.Millisecond)
		case 2:
			s.RetireExpired()
		case 3:
			_ = s.WarmUp(ctx, 1+rnd.IntN(10)) // it may fail
		case 4:
			_ = s.Ensure(ctx) // as above
		case 5:
			s.Pool.Stats()
		}
		cancel()
	}
}
