// Package scope is what a context belongs to in one pool: a session, and within it perhaps a
// transaction. A handle of database/sql looks there before it takes a connection, so that a plain
// *sql.DB runs each statement where its context belongs.
package scope

import "context"

// Scope is what a context belongs to in one pool.
type Scope struct {
	Session *Session // nil outside sessions
	Level   *Level   // nil outside transactions
	Attempt int      // how often the transaction has run, zero within another one
}

// key finds the Scope of one pool, so that two databases never mix.
type key struct{ home *Home }

// scoped is a context that belongs to something.
type scoped struct {
	context.Context
	home  *Home
	scope Scope
}

// With returns a context that belongs to s.
func (h *Home) With(ctx context.Context, s Scope) context.Context {
	h.inUse.Store(true)
	return &scoped{ctx, h, s}
}

// Value finds the Scope, and the attempt.
func (c *scoped) Value(k any) any {
	switch k := k.(type) {
	case key:
		if k.home == c.home {
			return &c.scope
		}
	case attemptKey:
		if c.scope.Attempt > 0 {
			return c.scope.Attempt
		}
	}
	return c.Context.Value(k)
}

// attemptKey finds the attempt of the innermost transaction, of any pool.
type attemptKey struct{}

// Attempt returns how often the transaction of ctx has run, counted from 1. It is 0 outside
// transactions.
func Attempt(ctx context.Context) int {
	n, _ := ctx.Value(attemptKey{}).(int)
	return n
}

// Of returns what ctx belongs to, nil if that is nothing. Until a context of the pool has belonged to
// something no context is searched, because the search takes time in proportion to its depth.
func (h *Home) Of(ctx context.Context) *Scope {
	if !h.inUse.Load() {
		return nil
	}
	s, _ := ctx.Value(key{h}).(*Scope)
	return s
}

// detached is a context that belongs to nothing.
type detached struct{ context.Context }

// Detach returns a context with the values of ctx. It belongs to nothing in any pool, and does not
// end.
func Detach(ctx context.Context) context.Context { return detached{context.WithoutCancel(ctx)} }

// Value hides each Scope.
func (d detached) Value(k any) any {
	switch k.(type) {
	case key, attemptKey:
		return nil
	}
	return d.Context.Value(k)
}

// Place returns the session of a statement, and the level that it runs on. Both are nil for a
// statement that takes a connection of the pool for itself alone.
func (s *Scope) Place() (*Session, *Level) {
	switch {
	case s == nil:
		return nil, nil
	case s.Level != nil:
		return s.Session, s.Level
	case s.Session.Ended():
		return nil, nil
	}
	return s.Session, s.Session.Base()
}
