package session

import (
	"context"
	"database/sql"
)

// scope is what a context belongs to in one database.
type scope struct {
	session *session
	level   *level // nil outside of transactions
}

// scopeKey finds the scope in a database. It is the *sql.DB that counts, not the handle: a second Wrap of it sees the same
// sessions.
type scopeKey struct{ db *sql.DB }

// handleKey finds what From returns, a handle.
type handleKey struct{}

// handle is what From finds. It is ambiguous if there are sessions of several databases.
type handle struct {
	db        *DB
	ambiguous bool
}

// scopedContext is a context that belongs to something.
type scopedContext struct {
	context.Context
	db    *DB
	scope scope
}

// Value finds the scope, and the handle.
func (c *scopedContext) Value(key any) any {
	switch key := key.(type) {
	case scopeKey:
		if key.db == c.db.sql {
			return &c.scope
		}
	case handleKey:
		h, ok := c.Context.Value(handleKey{}).(handle)
		return handle{db: c.db, ambiguous: ok && (h.ambiguous || h.db.sql != c.db.sql)}
	}
	return c.Context.Value(key)
}

// From returns the handle of the database whose session ctx belongs to, for code that was not handed one. It reports
// false if there is none, and if there are sessions of two databases: which of them is meant only a handle can tell.
func From(ctx context.Context) (*DB, bool) {
	h, ok := ctx.Value(handleKey{}).(handle)
	if !ok || h.ambiguous {
		return nil, false
	}
	return h.db, true
}

// Attempt returns how often the function that Tx has called with ctx runs, counted from 1. It is 0 outside of
// transactions.
func Attempt(ctx context.Context) int {
	n, _ := ctx.Value(attemptKey{}).(int)
	return n
}

type attemptKey struct{}

// Detach returns a context for work that goes on when the session or the request is over: it has the values of ctx, its
// span and its settings among them, but no deadline, no end, no session and no transaction.
func Detach(ctx context.Context) context.Context {
	return detached{context.WithoutCancel(ctx)}
}

type detached struct{ context.Context }

func (d detached) Value(key any) any {
	switch key.(type) {
	case scopeKey, handleKey, attemptKey:
		return nil
	}
	return d.Context.Value(key)
}

// scopeOf returns what ctx belongs to, nil if to nothing.
func (db *DB) scopeOf(ctx context.Context) *scope {
	s, _ := ctx.Value(scopeKey{db.sql}).(*scope)
	return s
}
