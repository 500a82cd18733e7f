// Package background runs goroutines that have an owner.
package background

import (
	"context"
	"sync"
)

// A Group is a set of goroutines with a common context. Its owner ends them with Close. It is safe
// for concurrent use. Create it with New.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards closed: nothing is added to running after it
	closed  bool
	running sync.WaitGroup
}

// New returns an empty Group.
func New() *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Context returns the context of the Group's goroutines. It ends with Close.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs f in a goroutine of the Group. It reports false, and does not run f, after Close.
func (g *Group) Go(f func(context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.running.Go(func() { f(g.ctx) })
	return true
}

// Close ends the context and waits for all goroutines. Each further call waits too. A goroutine of
// the Group must not call it.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.running.Wait()
}
