package scope

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgsafe/pgsafe/internal/pool"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// Session is one call of session.Do. It keeps no connection from other callers. Its statements prefer
// the connection that the last one had, until one leaves session state behind: then the connection
// stays the session's until its end. It is safe for concurrent use.
type Session struct {
	home     *Home
	affinity pool.Affinity
	telling  *tracing.Session // nil without telemetry
	ended    atomic.Bool

	mu   sync.Mutex // guards the fields below; nothing else is locked under it
	base *Level     // what statements run on once there is session state, nil before
	open *Use       // what the session has in use, the last one first
}

// NewSession begins a session. The context that it returns has the session's span. A summary
// that runs more often than repeats is reported on the span; zero reports none.
func (h *Home) NewSession(ctx context.Context, repeats int) (*Session, context.Context) {
	s := &Session{home: h}
	s.telling, ctx = h.Tracer.BeginSession(ctx, repeats)
	return s, h.With(ctx, Scope{Session: s})
}

// Ended reports whether the session is over. Statements with its context then run outside of it.
func (s *Session) Ended() bool { return s.ended.Load() }

// Base returns the level that the session's statements run on, nil if they run on connections of the
// pool.
func (s *Session) Base() *Level {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.base
}

// keep makes a connection with session state the session's own. It reports false if the session has
// one already, or is over.
func (s *Session) keep(c *pool.Conn) bool {
	base := newLevel(s.home.take(c, s), 0)
	base.isBase = true
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base != nil || s.Ended() {
		return false
	}
	s.base = base
	return true
}

// affinityOf returns the session's order of preference, nil outside sessions.
func (s *Session) affinityOf() *pool.Affinity {
	if s == nil {
		return nil
	}
	return &s.affinity
}

// checkedOut counts a connection that a statement of the session has taken.
func (s *Session) checkedOut(waited time.Duration) {
	if s != nil {
		s.telling.CheckedOut(waited)
	}
}

// Ran counts a statement that began then.
func (s *Session) Ran(text string, began time.Time) {
	if s != nil {
		s.telling.Ran(text, time.Since(began))
	}
}

// End ends the session: what is open is reported, cancel ends the session's context, upon which
// database/sql closes rows and transactions, and the connection goes back to the pool.
func (s *Session) End(outcome tracing.Outcome, cancel context.CancelFunc) {
	s.mu.Lock()
	s.ended.Store(true)
	base, open := s.base, s.openLocked()
	s.mu.Unlock()
	for _, o := range open {
		s.home.leftOpen(s, o.kind, o.text, o.site)
	}
	if base != nil {
		base.reportOpen(s)
	}
	cancel()
	if base != nil {
		base.endBase()
	}
	s.home.Pool.Forget(&s.affinity)
	s.telling.End(outcome)
}

// reportOpen reports what is open on the session's connection.
func (l *Level) reportOpen(s *Session) {
	l.conn.streams()
	l.mu.Lock()
	child := l.child
	l.mu.Unlock()
	if child != nil {
		s.home.leftOpen(s, LeftTransaction, "BEGIN", 0)
	}
}

// endBase ends the level of a session, and gives its connection back.
func (l *Level) endBase() {
	child, err := l.end()
	if err != nil {
		return
	}
	if !l.force(child) {
		return
	}
	l.conn.wire.Lock()
	l.conn.closeRows()
	l.conn.wire.Unlock()
	l.conn.free()
	l.turn.leave()
}
