package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/pool"
)

// The model drives the real pool. Each run is a bubble in which everything that the pool waits for
// is an event: a caller that comes, gives up or releases, the end of a dial, a check, a reset or a
// close, the end of a pause. When nothing moves any more the model looks at the pool, then it lets
// the next event happen. TestInterleavings tries all orders of a few callers' events. Two runs that
// have led to the same state of the pool are continued once.

// plan bounds the events of a model.
type plan struct {
	pool    pool.Config
	callers int
	endings []health.State // how a caller may leave its connection
	dials   []string       // how a dial may end, well first
	fits    []string       // what a check may find, well first
	slow    []string       // what takes its time: "reset", "close", "wait"
	gives   bool           // callers may give up
	races   bool           // a caller may give up just when another one releases
	spends  int            // how often patience, slow dials and the floor's rest may pass
	closes  bool           // the pool may be closed
	warms   int            // a warm-up asks for so many connections
}

const (
	modelPatience = time.Hour
	modelPause    = 500 * time.Millisecond // the longest
)

func TestInterleavings(t *testing.T) {
	clean := []health.State{health.Clean}
	fine, fit := []string{"ok"}, []string{"fit"}
	for name, p := range map[string]plan{
		"callers at a cap of one that give up": {
			pool: pool.Config{Max: 1}, callers: 4, endings: clean, dials: fine, fits: fit, gives: true, races: true,
			slow: []string{"wait"},
		},
		"callers at a cap of two whose dials fail": {
			pool: pool.Config{Max: 2}, callers: 3, endings: clean, dials: []string{"ok", "passing", "lasting"}, fits: fit,
			gives: true, spends: 1,
		},
		"callers at a cap of one whose connections break": {
			pool: pool.Config{Max: 1}, callers: 4, dials: []string{"ok", "passing"}, fits: []string{"fit", "unfit"},
			endings: []health.State{health.Clean, health.Unfit, health.Lost, health.Outdated}, slow: []string{"close"},
		},
		"callers at a cap of two whose connections break": {
			pool: pool.Config{Max: 2}, callers: 3, dials: fine, fits: []string{"fit", "lost"},
			endings: []health.State{health.Clean, health.Lost, health.Outdated}, slow: []string{"close"},
		},
		"callers at a cap of two whose connections need a reset": {
			pool: pool.Config{Max: 2}, callers: 4, endings: []health.State{health.Clean, health.Dirty}, dials: fine, fits: fit,
			slow: []string{"reset", "close"}, gives: true,
		},
		"callers without a cap whose connections need a reset": {
			callers: 3, endings: []health.State{health.Dirty}, dials: []string{"ok", "passing"}, fits: fit,
			slow: []string{"reset", "close"},
		},
		"callers of a full server": {
			callers: 3, endings: clean, dials: []string{"ok", "full"}, fits: fit, spends: 1,
		},
		"callers without a cap whose connections are lost early": {
			callers: 4, endings: []health.State{health.Clean, health.Lost}, dials: fine, fits: fit,
		},
		"callers whose dials are slow": {
			pool: pool.Config{Max: 2, SlowDial: time.Minute}, callers: 3, endings: clean, dials: []string{"ok", "passing"},
			fits: fit, gives: true, spends: 2,
		},
		"callers of a pool with a floor": {
			pool: pool.Config{Max: 3, MinIdle: 2, CheckPeriod: time.Second}, callers: 2,
			endings: []health.State{health.Clean, health.Unfit}, dials: []string{"ok", "lasting"},
			fits: fit, gives: true, spends: 1,
		},
		"callers beside a warm-up": {
			pool: pool.Config{Max: 2}, callers: 2, endings: []health.State{health.Clean, health.Unfit},
			dials: []string{"ok", "passing", "lasting"}, fits: fit, warms: 2, gives: true,
		},
		"callers of a pool that is closed": {
			pool: pool.Config{Max: 2}, callers: 3, endings: []health.State{health.Dirty}, dials: fine, fits: fit,
			slow: []string{"reset", "close"}, gives: true, closes: true,
		},
	} {
		t.Run("every order of events serves all "+name, func(t *testing.T) {
			t.Parallel()
			explore(t, p)
		})
	}
}

// TestLongInterleavings goes random ways through plans that are too large to try all.
func TestLongInterleavings(t *testing.T) {
	p := plan{
		pool: pool.Config{Max: 3, MinIdle: 1, SlowDial: time.Minute}, callers: 12,
		endings: []health.State{
			health.Clean, health.Clean, health.Clean, health.Dirty, health.Unfit, health.Doubtful, health.Lost, health.Outdated,
		},
		dials: []string{"ok", "ok", "passing", "lasting", "full"}, fits: []string{"fit", "fit", "unfit", "lost"},
		slow: []string{"reset", "close", "wait"}, gives: true, races: true, spends: 5, closes: true, warms: 2,
	}
	seed := rand.Uint64()
	for i := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, i))
		w := run(t, p, func(events []event) int {
			if len(events) == 0 || rnd.IntN(200) == 0 {
				return -1
			}
			return rnd.IntN(len(events))
		})
		if w.fault != "" {
			t.Fatalf("run %d of seed %d: %s\n%s", i, seed, w.fault, strings.Join(w.history, "\n"))
		}
	}
}

// explore tries all orders of events, shorter ones first.
func explore(t *testing.T, p plan) {
	seen := map[string]bool{}
	runs := 0
	for paths := [][]int{nil}; len(paths) > 0; paths = paths[1:] {
		step := 0
		w := run(t, p, func(events []event) int {
			if step == len(paths[0]) {
				return -1
			}
			step++
			return paths[0][step-1]
		})
		runs++
		if w.fault != "" {
			t.Fatalf("%s\n%s", w.fault, strings.Join(w.history, "\n"))
		}
		if seen[w.key] {
			continue
		}
		seen[w.key] = true
		for i := range w.next {
			paths = append(paths, append(slices.Clip(paths[0]), i))
		}
	}
	t.Logf("%d states in %d runs", len(seen), runs)
}

// run lets the events happen that choose picks, until it picks none. Then all goes well, and each
// caller must be served.
func run(t *testing.T, p plan, choose func([]event) int) *model {
	w := &model{plan: p}
	synctest.Test(t, func(*testing.T) {
		w.begin()
		for w.fault == "" {
			events := w.events()
			i := choose(events)
			if i < 0 || i >= len(events) {
				w.next, w.key = len(events), w.state()
				break
			}
			w.step(events[i])
		}
		w.finish()
	})
	return w
}

// model is one run.
type model struct {
	plan
	pool    *pool.Pool
	next    int    // how many events could come next
	key     string // the state of all
	history []string
	fault   string // what went wrong first

	mu       sync.Mutex
	gates    []*gate
	callers  []*modelCaller
	servers  []*modelServer
	open     int // connections and dials
	spent    int
	closed   bool
	warm     chan error
	before   pool.Snapshot // at the last event
	dialed   int64
	outdated int // servers made by dials that were begun earlier are too old
	dials    int // begun
}

// modelCaller is one call of Acquire.
type modelCaller struct {
	name     string
	cancel   context.CancelFunc
	canceled bool
	returned bool
	conn     *pool.Conn // nil once it is released
}

// event is one thing that can happen.
type event struct {
	name string
	do   func()
}

// gate is a question whose answer is an event.
type gate struct {
	kind    string
	server  *modelServer
	caller  string
	answers []string // the good one first
	answer  chan string
}

func (w *model) begin() {
	config := w.plan.pool
	config.Dial, config.Patience = w.dial, func(err error) time.Duration {
		if errors.Is(err, errLasting) {
			return 0
		}
		return modelPatience
	}
	w.pool = pool.New(config)
	w.pool.OnWait(w.arrive)
	w.before = w.pool.Snapshot()
}

// fail keeps what went wrong first.
func (w *model) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

// ask waits for an event. It returns the empty string if ctx ends first.
func (w *model) ask(ctx context.Context, g *gate) string {
	g.answer = make(chan string, 1)
	w.mu.Lock()
	w.gates = append(w.gates, g)
	w.mu.Unlock()
	var answer string
	select {
	case answer = <-g.answer:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gates = slices.DeleteFunc(w.gates, func(other *gate) bool { return other == g })
	return answer
}

func (w *model) isSlow(what string) bool { return slices.Contains(w.plan.slow, what) }

// arrive is called by a caller between the queue and its wait.
func (w *model) arrive() {
	if !w.isSlow("wait") {
		return
	}
	queue := w.pool.Snapshot().Queue // only the caller that came last can be here
	w.ask(context.Background(), &gate{kind: "wait", caller: queue[len(queue)-1], answers: []string{"begins"}})
}

func (w *model) dial(ctx context.Context, _ pool.Dial) (pool.Server, error) {
	w.mu.Lock()
	w.open++
	w.dials++
	number := w.dials
	w.mu.Unlock()
	var err error
	switch w.ask(ctx, &gate{kind: "dial", answers: w.plan.dials}) {
	case "ok":
		w.mu.Lock()
		defer w.mu.Unlock()
		s := &modelServer{world: w, number: number}
		w.servers = append(w.servers, s)
		return s, nil
	case "passing":
		err = errPassing
	case "full":
		err = errFull
	case "lasting":
		err = errLasting
	default:
		err = ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open--
	return nil, err
}

// modelServer is a connection whose steps are events.
type modelServer struct {
	world  *model
	number int  // of its dial
	taken  bool // it was in use when its generation ended

	mu    sync.Mutex
	state health.State
	user  string
}

func (s *modelServer) is(state health.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

// State returns what the last event left.
func (s *modelServer) State() health.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Fit asks the model.
func (s *modelServer) Fit(context.Context, time.Duration, health.Trust) bool {
	answer := s.world.plan.fits[0]
	if len(s.world.plan.fits) > 1 {
		answer = s.world.ask(context.Background(), &gate{kind: "fit", server: s, answers: s.world.plan.fits})
	}
	if answer == "lost" {
		s.is(health.Lost)
	}
	return answer == "fit"
}

// Reset asks the model.
func (s *modelServer) Reset(ctx context.Context) error {
	if s.world.isSlow("reset") &&
		s.world.ask(ctx, &gate{kind: "reset", server: s, answers: []string{"ok", "fails"}}) != "ok" {
		return errors.New("the reset fails")
	}
	s.is(health.Clean)
	return nil
}

// Close asks the model.
func (s *modelServer) Close() {
	if s.world.isSlow("close") {
		s.world.ask(context.Background(), &gate{kind: "close", server: s, answers: []string{"ends"}})
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.open--
}

// Closed reports that Close does not block, if it does not.
func (s *modelServer) Closed() bool { return !s.world.isSlow("close") }

// Ended reports what the model does not know.
func (s *modelServer) Ended(health.Trust) bool { return false }

// Abort never does it: each caller comes back.
func (s *modelServer) Abort() bool { return false }

// Expires is never.
func (s *modelServer) Expires() time.Time { return time.Time{} }

// events are what can happen next.
func (w *model) events() []event {
	s := w.pool.Snapshot()
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []event
	if n := len(w.callers); n < w.plan.callers {
		all = append(all, event{fmt.Sprintf("caller %d comes", n), w.come})
	}
	for _, g := range w.gates {
		for _, answer := range g.answers {
			all = append(all, event{w.describe(g) + " " + answer, func() { g.answer <- answer }})
		}
	}
	for _, c := range w.callers {
		all = append(all, w.eventsOf(c)...)
	}
	if s.Paused && !w.closed {
		all = append(all, event{"the pause ends", func() { time.Sleep(modelPause) }})
	}
	if w.spent < w.plan.spends {
		all = append(all, event{"time passes", func() { w.spent++; time.Sleep(modelPatience) }})
	}
	if w.plan.warms > 0 && w.warm == nil {
		all = append(all, event{"a warm-up begins", w.warmUp})
	}
	if w.plan.closes && !w.closed {
		all = append(all, event{"the pool is closed", w.close})
	}
	return all
}

func (w *model) describe(g *gate) string {
	if g.server != nil {
		return fmt.Sprintf("the %s of connection %d", g.kind, g.server.number)
	}
	return "a " + g.kind + " " + g.caller
}

// eventsOf are the events of one caller.
func (w *model) eventsOf(c *modelCaller) []event {
	var all []event
	switch {
	case !c.returned && !c.canceled && w.plan.gives:
		all = append(all, event{c.name + " gives up", func() { w.cancel(c) }})
		for _, other := range w.callers {
			if w.plan.races && other.conn != nil {
				all = append(all, event{c.name + " gives up just when " + other.name + " releases", func() {
					w.cancel(c)
					w.release(other, health.Clean)
				}})
			}
		}
	case c.conn != nil:
		for _, state := range w.plan.endings {
			all = append(all, event{fmt.Sprintf("%s releases in state %d", c.name, state), func() { w.release(c, state) }})
		}
	}
	return all
}

func (w *model) cancel(c *modelCaller) {
	c.canceled = true
	c.cancel()
}

// come begins a call.
func (w *model) come() {
	ctx, cancel := context.WithCancel(context.Background())
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &modelCaller{name: fmt.Sprintf("caller %d", len(w.callers)), cancel: cancel}
	w.callers = append(w.callers, c)
	go func() {
		conn, err := w.pool.Acquire(ctx, c.name, nil)
		w.mu.Lock()
		c.returned, c.conn = true, conn
		canceled, closed := c.canceled, w.closed
		w.mu.Unlock()
		w.judge(c, conn, err, canceled, closed)
	}()
}

// judge looks at what a call returned.
func (w *model) judge(c *modelCaller, conn *pool.Conn, err error, canceled, closed bool) {
	switch {
	case (conn == nil) == (err == nil):
		w.fail("%s got the connection %v and the error %v", c.name, conn, err)
	case errors.Is(err, context.Canceled) && !canceled:
		w.fail("%s did not give up and got %v", c.name, err)
	case errors.Is(err, pool.ErrClosed) && !closed:
		w.fail("%s got %v before Close", c.name, err)
	case err == nil:
		w.judgeConn(c, conn.Server.(*modelServer), closed)
	}
}

func (w *model) judgeConn(c *modelCaller, s *modelServer, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user != "" {
		w.fail("%s and %s have the same connection", c.name, s.user)
	}
	s.user = c.name
	if s.state != health.Clean {
		w.fail("%s got a connection in state %d", c.name, s.state)
	}
	w.mu.Lock()
	old := s.number <= w.outdated && !closed && !s.taken
	w.mu.Unlock()
	if old {
		w.fail("%s got a connection of a generation that has ended", c.name)
	}
}

func (w *model) release(c *modelCaller, state health.State) {
	s := c.conn.Server.(*modelServer)
	s.mu.Lock()
	s.state, s.user = state, ""
	s.mu.Unlock()
	w.mu.Lock()
	s.taken = false
	if state == health.Outdated && !w.closed {
		w.renew(s)
	}
	conn, closed := c.conn, w.closed
	c.conn = nil
	w.mu.Unlock()
	if closed {
		go w.pool.Release(conn) // which waits until the connection is closed
		return
	}
	w.pool.Release(conn)
}

// renew notes that the connections and dials of now are of no more use, but for those in use,
// unless the connection that says so is of an earlier generation.
func (w *model) renew(by *modelServer) {
	used := w.pool.Snapshot().Used
	if slices.ContainsFunc(used, func(c pool.ConnView) bool { return c.Server == by && c.Stale }) {
		return
	}
	w.outdated = w.dials
	for _, c := range used {
		if s := c.Server.(*modelServer); s != by {
			s.taken = true
		}
	}
}

func (w *model) warmUp() {
	w.warm = make(chan error, 1)
	go func() { w.warm <- w.pool.WarmUp(context.Background(), w.plan.warms) }()
}

func (w *model) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	go w.pool.Close() // which waits for other events
}

// step lets an event happen, and looks at the pool when nothing moves any more.
func (w *model) step(e event) {
	w.history = append(w.history, e.name)
	spent := w.spent
	e.do()
	synctest.Wait()
	w.check(w.spent == spent)
}

// check holds the pool against its promises.
func (w *model) check(instant bool) {
	before, s, stats := w.before, w.pool.Snapshot(), w.pool.Stats()
	dialing, capacity := len(s.Dials), w.plan.pool.Max
	total := len(s.Idle) + len(s.Used) + s.Closing
	w.mu.Lock()
	open, closed := w.open, w.closed
	w.mu.Unlock()
	full := capacity > 0 && total+dialing >= capacity
	switch {
	case capacity > 0 && max(open, total+dialing) > capacity:
		w.fail("%d connections are open and %d are counted, the cap is %d", open, total+dialing, capacity)
	case open != total+dialing && !closed:
		w.fail("%d connections are open and %d are counted", open, total+dialing)
	case len(s.Idle) > 0 && len(s.Queue) > 0:
		w.fail("%d connections are idle while %d callers wait", len(s.Idle), len(s.Queue))
	case len(s.Queue) > dialing+s.Resetting && !full && !s.Paused && (s.Failure == "" || dialing == 0):
		w.fail("%d callers wait for %d dials and %d resets", len(s.Queue), dialing, s.Resetting)
	case instant && stats.Dialed > w.dialed && dialing > max(len(s.Queue), len(before.Queue), w.floor(s))+w.warms():
		w.fail("%d dials for %d waiters", dialing, len(s.Queue))
	case closed && len(s.Queue)+len(s.Idle) > 0:
		w.fail("%d callers wait and %d connections are idle after Close", len(s.Queue), len(s.Idle))
	}
	w.checkOrder(before.Queue, s.Queue)
	w.before, w.dialed = s, stats.Dialed
}

// floor is how many dials the floor may have.
func (w *model) floor(s pool.Snapshot) int {
	if s.Started && w.plan.pool.MinIdle > 0 {
		return 1
	}
	return 0
}

// warms is how many dials a warm-up may have.
func (w *model) warms() int {
	if w.warm == nil {
		return 0
	}
	return w.plan.warms
}

// checkOrder reports a waiter that was passed over: those that left and did not give up were the
// longest.
func (w *model) checkOrder(before, after []string) {
	w.mu.Lock()
	gaveUp := func(name string) bool {
		return slices.ContainsFunc(w.callers, func(c *modelCaller) bool { return c.name == name && c.canceled })
	}
	var passed string
	for _, name := range before {
		switch stays := slices.Contains(after, name); {
		case stays && passed == "":
			passed = name
		case !stays && passed != "" && !gaveUp(name):
			defer w.fail("%s was served before %s", name, passed)
		}
	}
	w.mu.Unlock()
}

// state describes all that decides what happens next. What differs only in names is the same.
func (w *model) state() string {
	s := w.pool.Snapshot()
	w.mu.Lock()
	defer w.mu.Unlock()
	names := map[any]int{}
	name := func(of any) int {
		if _, known := names[of]; !known {
			names[of] = len(names)
		}
		return names[of]
	}
	var b strings.Builder
	for i, text := range s.Queue {
		fmt.Fprintf(&b, "waits %d%s ", name(text), w.ages(s, s.Joined[i]))
	}
	for _, list := range [][]pool.ConnView{s.Idle, s.Used} {
		for _, c := range list {
			fmt.Fprintf(&b, "conn %d of %d is %v %v %v %v %v ", name(c.Server), name(c.Text), c.Proven, c.Stale, c.Suspect,
				c.Resets, c.Server.(*modelServer).number <= w.outdated)
		}
		b.WriteString("; ")
	}
	for _, d := range s.Dials {
		fmt.Fprintf(&b, "dial%s %v %v ", w.ages(s, d.Begun), d.Stale, d.Replaced)
	}
	var rest []string
	for _, g := range w.gates {
		rest = append(rest, fmt.Sprintf("gate %s %d %d", g.kind, name(g.server), name(g.caller)))
	}
	for _, c := range w.callers {
		if !c.returned || c.conn != nil {
			rest = append(rest, fmt.Sprintf("caller %d %v %v", name(c.name), c.canceled, c.returned))
		}
	}
	slices.Sort(rest)
	fmt.Fprint(&b, rest, len(w.callers), w.spent, w.closed, w.warm != nil, len(w.warm), s.Warming)
	fmt.Fprint(&b, s.Closing, s.Losses, s.Paused, s.Quiet, s.Started, s.Failure)
	return b.String()
}

// ages describes a time by what the pool compares it with.
func (w *model) ages(s pool.Snapshot, at time.Time) string {
	if w.plan.pool.SlowDial == 0 {
		return ""
	}
	older := 0
	for _, d := range s.Dials {
		if d.Begun.Before(at) {
			older++
		}
	}
	return fmt.Sprintf(" %d %v", older, time.Since(at) >= w.plan.pool.SlowDial)
}

// finish lets all go well from here on. Each caller must be served, and nothing may be left.
func (w *model) finish() {
	w.drain()
	w.mu.Lock()
	for _, c := range w.callers {
		if !c.returned {
			w.mu.Unlock()
			w.fail("%s is forgotten", c.name)
			w.mu.Lock()
		}
		c.cancel()
	}
	w.mu.Unlock()
	if w.warm != nil && len(w.warm) == 0 {
		w.fail("the warm-up is forgotten")
	}
	if s := w.pool.Snapshot(); len(s.Used)+len(s.Dials)+s.Closing+s.Resetting > 0 {
		w.fail("%d connections are in use, %d are dialed, %d closing, %d in reset when all is over",
			len(s.Used), len(s.Dials), s.Closing, s.Resetting)
	}
	w.close()
	w.drain()
	if w.open != 0 {
		w.fail("%d connections are open after Close", w.open)
	}
}

// drain has all go well until nothing is left to happen.
func (w *model) drain() {
	for range 1000 {
		synctest.Wait()
		if !w.proceed() {
			return
		}
	}
	w.fail("it does not come to an end")
}

// proceed has one thing go well, and reports whether there was one.
func (w *model) proceed() bool {
	paused := w.pool.Snapshot().Paused
	w.mu.Lock()
	var question *gate
	if len(w.gates) > 0 {
		question = w.gates[0]
	}
	holder := slices.IndexFunc(w.callers, func(c *modelCaller) bool { return c.conn != nil })
	closed := w.closed
	w.mu.Unlock()
	switch {
	case question != nil:
		question.answer <- question.answers[0]
	case holder >= 0:
		w.release(w.callers[holder], health.Clean)
	case paused && !closed:
		time.Sleep(modelPause)
	default:
		return false
	}
	return true
}
