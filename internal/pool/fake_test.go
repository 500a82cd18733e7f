package pool_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pool"
)

// The failures of fake dials.
var (
	errLasting = errors.New("the password is wrong")
	errPassing = errors.New("the server starts")
	errFull    = errors.New("the server has no room")
)

// patience is for how long a caller's dials are tried again after a failure that passes.
const patience = 3 * time.Second

func patienceWith(err error) time.Duration {
	for _, passing := range []error{errPassing, errFull, io.EOF} {
		if errors.Is(err, passing) {
			return patience
		}
	}
	return 0
}

// cluster is a fake server. It counts its connections from the begin of a dial until the end of
// Close.
type cluster struct {
	mu      sync.Mutex
	answer  func(context.Context) error // how a dial ends, nil for success at once
	prepare func(*server)               // changes a new connection
	servers []*server                   // all that were ever made
	held    []*heldDial
	open    int
	peak    int
	why     []pool.Dial // of each dial
}

func (c *cluster) Dial(ctx context.Context, why pool.Dial) (pool.Server, error) {
	c.count(1)
	c.mu.Lock()
	c.why = append(c.why, why)
	answer := c.answer
	c.mu.Unlock()
	if answer != nil {
		if err := answer(ctx); err != nil {
			c.count(-1)
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &server{cluster: c, number: len(c.servers)}
	if c.prepare != nil {
		c.prepare(s)
	}
	c.servers = append(c.servers, s)
	return s, nil
}

func (c *cluster) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open += n
	c.peak = max(c.peak, c.open)
}

// dialsEnd has all further dials end with err, nil for success.
func (c *cluster) dialsEnd(err error) {
	c.dialsAre(func(context.Context) error { return err })
}

func (c *cluster) dialsAre(answer func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// heldDial is a dial that ends when the test says so.
type heldDial struct{ end chan error }

// holdDials has each further dial wait for dialEnds, or for its context.
func (c *cluster) holdDials() {
	c.dialsAre(func(ctx context.Context) error {
		d := &heldDial{make(chan error, 1)}
		c.mu.Lock()
		c.held = append(c.held, d)
		c.mu.Unlock()
		select {
		case err := <-d.end:
			return err
		case <-ctx.Done():
			c.mu.Lock()
			c.held = slices.DeleteFunc(c.held, func(other *heldDial) bool { return other == d })
			c.mu.Unlock()
			return ctx.Err()
		}
	})
}

// dialEnds ends the longest of the held dials, and waits for what follows.
func (c *cluster) dialEnds(err error) {
	synctest.Wait()
	c.mu.Lock()
	c.held[0].end <- err
	c.held = c.held[1:]
	c.mu.Unlock()
	synctest.Wait()
}

// made returns all connections that were ever made.
func (c *cluster) made() []*server {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.servers)
}

// opened returns how many connections the server has.
func (c *cluster) opened() int {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// server is a fake connection. The zero value is fit, clean, and closes at once.
type server struct {
	cluster *cluster
	number  int
	expires time.Time

	mu     sync.Mutex
	state  health.State
	fit    func(ctx context.Context, idle time.Duration, trust health.Trust) bool
	reset  func(ctx context.Context) error
	close  func()
	ended  bool // by the server
	works  bool // for its user
	closed bool
	gone   bool // it was closed without a word
	resets int
	checks []health.Trust // what Fit was asked
}

func (s *server) Fit(ctx context.Context, idle time.Duration, trust health.Trust) bool {
	s.mu.Lock()
	s.checks = append(s.checks, trust)
	fit := s.fit
	s.mu.Unlock()
	return fit == nil || fit(ctx, idle, trust)
}

func (s *server) State() health.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *server) Reset(ctx context.Context) error {
	s.mu.Lock()
	s.resets++
	reset := s.reset
	s.mu.Unlock()
	if reset != nil {
		if err := reset(ctx); err != nil {
			return err
		}
	}
	s.is(health.Clean)
	return nil
}

func (s *server) Close() {
	s.mu.Lock()
	hold := s.close
	s.mu.Unlock()
	if hold != nil {
		hold()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.cluster.count(-1)
	}
}

func (s *server) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

func (s *server) Ended(health.Trust) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *server) Abort() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.works {
		return false
	}
	s.state = health.Lost
	if !s.closed {
		s.closed = true
		s.cluster.count(-1)
	}
	return true
}

func (s *server) Expires() time.Time { return s.expires }

// is sets what State says.
func (s *server) is(state health.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

// end has the server close an idle connection.
func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// fixture is a pool on a fake server.
type fixture struct {
	*pool.Pool
	*cluster
	t *testing.T
}

// newFixture makes a pool. What config leaves out is harmless: no cap, no bounds.
func newFixture(t *testing.T, config pool.Config) *fixture {
	t.Helper()
	f := &fixture{cluster: &cluster{}, t: t}
	config.Dial, config.Patience = f.Dial, patienceWith
	f.Pool = pool.New(config)
	t.Cleanup(func() {
		f.Close()
		if config.Max > 0 && f.peak > config.Max {
			t.Errorf("the server had %d connections at once, the cap is %d", f.peak, config.Max)
		}
	})
	return f
}

// Stats is the pool's, once nothing moves any more.
func (f *fixture) Stats() pool.Stats {
	synctest.Wait()
	return f.Pool.Stats()
}

// get acquires a connection that is there, or that a dial at once makes.
func (f *fixture) get() *pool.Conn {
	f.t.Helper()
	c := f.call("")
	synctest.Wait()
	return c.conn()
}

// gets acquires n connections.
func (f *fixture) gets(n int) []*pool.Conn {
	f.t.Helper()
	all := make([]*pool.Conn, n)
	for i := range all {
		all[i] = f.get()
	}
	return all
}

func (f *fixture) release(all ...*pool.Conn) {
	for _, c := range all {
		f.Release(c)
	}
	synctest.Wait()
}

// releaseAs gives a connection back in a state.
func (f *fixture) releaseAs(c *pool.Conn, state health.State) {
	fake(c).is(state)
	f.release(c)
}

func fake(c *pool.Conn) *server { return c.Server.(*server) }

// call is a call of Acquire in a goroutine.
type call struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	got    *pool.Conn
	err    error
	took   time.Duration
}

// call begins a call, and returns once it has its place in the queue.
func (f *fixture) call(text string) *call {
	ctx, cancel := context.WithCancel(context.Background())
	f.t.Cleanup(cancel)
	c := &call{t: f.t, cancel: cancel, done: make(chan struct{})}
	begun := time.Now()
	go func() {
		defer close(c.done)
		c.got, c.err = f.Acquire(ctx, text, nil)
		c.took = time.Since(begun)
	}()
	synctest.Wait()
	return c
}

func (f *fixture) calls(n int) []*call {
	all := make([]*call, n)
	for i := range all {
		all[i] = f.call("")
	}
	return all
}

// waits reports whether the call has not returned.
func (c *call) waits() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// conn returns what the call got. It must have returned.
func (c *call) conn() *pool.Conn {
	c.t.Helper()
	if c.waits() {
		c.t.Fatal("the caller still waits")
	}
	check.OK(c.t, c.err)
	return c.got
}

// fails returns the call's error. It must have returned.
func (c *call) fails() error {
	c.t.Helper()
	if c.waits() {
		c.t.Fatal("the caller still waits")
	}
	if c.err == nil {
		c.t.Fatal("the caller got a connection")
	}
	return c.err
}

// served counts the calls that have returned.
func served(all []*call) int {
	n := 0
	for _, c := range all {
		if !c.waits() {
			n++
		}
	}
	return n
}
