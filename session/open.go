package session

import (
	"context"
	"slices"
	"sync"
)

// openContext is the context of one call to database/sql that may leave something open: rows, or a transaction. It
// knows when that is closed, and can end it.
//
// database/sql derives a context of its own from the one that it is given, for as long as the thing is open
// (Rows.initContextClose and DB.beginDC call context.WithCancel, Rows.close and Tx.close the function that it returns).
// context.WithCancel registers with a parent that has a method AfterFunc and is no context of its own kind
// (cancelCtx.propagateCancel), and takes that back when the child is cancelled (removeChild). Done is a channel of its own,
// so that the parent's parent is not taken for it (parentCancelCtx).
type openContext struct {
	context.Context // the caller's: its values and its deadline

	opening

	done       chan struct{}
	unfollower func() bool // nil if the caller's context does not end, or the session follows it

	mu     sync.Mutex // guards all below; nothing else is locked under it
	err    error
	quiet  bool            // the driver was not told of err
	after  []registration  // in the order in which they came
	room   [2]registration // for after, which has so many but rarely
	came   int             // registrations so far
	closes int             // the one that is taken back when the rows are closed; 0 if there are none to be closed
}

// registration is what the context package wants to be called when Done is closed.
type registration struct {
	number int // from 1
	f      func()
}

func (s *session) newOpenContext(ctx context.Context, from caller, kind string, turn *turn) *openContext {
	o := &openContext{Context: ctx, done: make(chan struct{})}
	o.opening = opening{watcher: o, kind: kind, from: from, session: s, turn: turn, owned: s.owns(ctx)}
	o.after = o.room[:0]
	return o
}

// Done is closed when the caller's context ends, while that is followed, or the session.
func (o *openContext) Done() <-chan struct{} { return o.done }

// Err tells why Done is closed.
func (o *openContext) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// AfterFunc is what the context package asks for: f is to be called when Done is closed.
func (o *openContext) AfterFunc(f func()) (stop func() bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		go f() // the caller holds a lock that f takes (cancelCtx.propagateCancel)
		return func() bool { return false }
	}
	o.came++
	number := o.came
	o.after = append(o.after, registration{number, f})
	return func() bool { return o.takeBack(number) }
}

// follow ends it when the caller's context ends.
func (o *openContext) follow() {
	if o.Context.Done() != nil {
		o.unfollower = context.AfterFunc(o.Context, func() { o.end(o.Context.Err()) })
	}
}

// stopFollowing reports false if the caller's context has ended it, or is about to.
func (o *openContext) stopFollowing() bool { return o.unfollower == nil || o.unfollower() }

func (o *openContext) unfollow() { o.stopFollowing() }

// opened looks which registration will be taken back.
func (o *openContext) opened() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || len(o.after) == 0 {
		return false
	}
	// The driver's own registrations came before: database/sql makes rows of what the driver has returned.
	o.closes = o.after[len(o.after)-1].number
	o.open.Store(true)
	return true
}

// takeBack is called by the context package when a child was cancelled by whoever made it.
func (o *openContext) takeBack(number int) bool {
	o.mu.Lock()
	i := slices.IndexFunc(o.after, func(r registration) bool { return r.number == number })
	if i < 0 {
		o.mu.Unlock()
		return false
	}
	o.after = slices.Delete(o.after, i, i+1)
	closed := number == o.closes
	o.mu.Unlock()
	if closed {
		o.stopFollowing()
		o.closed()
	}
	return true
}

// end closes Done. database/sql sees that by itself and closes the rows (Rows.awaitDone), and then takes its registration
// back: it is not called. All others are, so that the driver cancels what runs, and that of a transaction, which looks only
// at its own context (Tx.awaitDone).
func (o *openContext) end(err error) {
	for _, r := range o.finish(err, false) {
		r.f()
	}
}

// endQuietly does so without a word to the driver: what is left of the rows is read, and the statement is not cancelled,
// which would end its transaction. If that takes until the caller's context ends, or the transaction is rolled back, end
// cancels it after all.
func (o *openContext) endQuietly(err error) { o.finish(err, true) }

func (o *openContext) finish(err error, quiet bool) (rest []registration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil && (quiet || !o.quiet) {
		return nil
	}
	if o.err == nil {
		o.err = err
		close(o.done)
	}
	o.quiet = quiet
	if quiet {
		return nil
	}
	for _, r := range o.after {
		if r.number != o.closes || o.kind == kindTransaction {
			rest = append(rest, r)
		}
	}
	return rest
}
