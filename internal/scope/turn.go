package scope

import (
	"context"
	"slices"
	"sync"
	"time"
)

// BusyTimeout is how long a statement waits for a nested transaction, or for native code, that does
// nothing. It is a variable for tests.
var BusyTimeout = 5 * time.Second

// idler reports whether no statement is on its way to the server, or runs there.
type idler interface{ Idle() bool }

// turn is a lock, first come first served. A wait for it ends with a context too, or with ErrBusy
// once its holder has kept it for BusyTimeout without doing anything. The zero value is free.
type turn struct {
	mu     sync.Mutex
	taken  bool
	holder string      // what keeps it beyond one statement, "" for a statement
	works  func() bool // reports whether the holder does something now
	seen   time.Time
	passes uint64 // how often the turn was passed on
	server idler  // nil if it is not known
	queue  []chan struct{}
	heir   func() // gets the turn before the queue does, nil for none
}

// take takes the turn for a statement.
func (t *turn) take(ctx context.Context) error {
	ready := t.takeOrQueue()
	if ready == nil {
		return nil
	}
	var idle uint64 // which statement had the turn when the server ran none, counted from 1
	late := time.NewTimer(BusyTimeout)
	defer late.Stop()
	for {
		select {
		case <-ready:
			return nil
		case <-ctx.Done():
			t.giveUp(ready)
			return ctx.Err()
		case <-late.C:
			holder, left := t.stuck(&idle)
			if holder != "" {
				t.giveUp(ready)
				return &busyError{holder}
			}
			late.Reset(left)
		}
	}
}

// takeOrQueue returns nil if it has taken the turn, else what is closed when the turn comes.
func (t *turn) takeOrQueue() (ready chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.taken {
		t.taken = true
		return nil
	}
	ready = make(chan struct{})
	t.queue = append(t.queue, ready)
	return ready
}

// giveUp leaves the queue, or passes the turn on if it has come meanwhile.
func (t *turn) giveUp(ready chan struct{}) {
	t.mu.Lock()
	i := slices.Index(t.queue, ready)
	if i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 {
		t.leave()
	}
}

// leave passes the turn on to the heir, else to the longest waiter.
func (t *turn) leave() {
	if heir := t.pass(); heir != nil {
		heir()
	}
}

// pass passes the turn on. It returns the heir, which has the turn then, nil for none.
func (t *turn) pass() (heir func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holder, t.works = "", nil
	t.passes++
	heir, t.heir = t.heir, nil
	switch {
	case heir != nil:
	case len(t.queue) == 0:
		t.taken = false
	default:
		close(t.queue[0])
		t.queue = slices.Delete(t.queue, 0, 1)
	}
	return heir
}

// inherit takes the turn if it is free. Else it reports false, and heir is called with the turn when
// the holder leaves.
func (t *turn) inherit(heir func()) (taken bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.taken {
		t.taken = true
		return true
	}
	t.heir = heir
	return false
}

// keep notes that the caller, which has the turn, keeps it beyond its statement. works reports whether
// it does something.
func (t *turn) keep(holder string, works func() bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holder, t.works, t.seen = holder, works, time.Now()
}

// touch notes that the holder does something.
func (t *turn) touch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) > 0 {
		t.seen = time.Now()
	}
}

// stuckStatement is a statement that has the turn and does not reach the server. Most often the method
// Value of its argument waits for a statement in the same transaction, and so for itself.
const stuckStatement = "a statement that is not sent (perhaps an argument's Value runs a statement too)"

// stuck returns the holder if it has done nothing for BusyTimeout, else when to look again. A statement
// has done nothing if the server is idle at two looks. idle is the caller's memory of the first.
func (t *turn) stuck(idle *uint64) (holder string, again time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == "" && t.server != nil && t.server.Idle() {
		if *idle == t.passes+1 {
			return stuckStatement, 0
		}
		*idle = t.passes + 1
		return "", BusyTimeout
	}
	if t.holder == "" || t.works() {
		t.seen = time.Now()
		return "", BusyTimeout
	}
	if left := BusyTimeout - time.Since(t.seen); left > 0 {
		return "", left
	}
	return t.holder, 0
}

// runs reports whether a statement runs, or what keeps the turn does something.
func (t *turn) runs() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.taken && (t.holder == "" || t.works())
}

// isTaken reports whether anything has the turn.
func (t *turn) isTaken() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.taken
}
