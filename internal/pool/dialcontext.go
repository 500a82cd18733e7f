package pool

import "context"

// dialContext ends with the pool. It has the values of a caller that waits, so that the spans of the
// dial belong to that caller's request.
type dialContext struct {
	context.Context // the pool's
	caller          context.Context
}

// dialContextLocked returns the context of a dial. The newest waiter is most often the one for which
// the dial begins.
func (p *Pool) dialContextLocked() context.Context {
	if w := p.queue.tail; w != nil {
		return dialContext{p.work.Context(), w.ctx}
	}
	return p.work.Context()
}

// Value looks in the pool's context first. Package context finds there what cancels a derived
// context, and needs no goroutine for that (context.go, propagateCancel).
func (c dialContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.caller.Value(key)
}
