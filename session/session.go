package session

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"time"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// session is one call of Do, from beginning to end.
type session struct {
	db     *DB
	ctx    scopedContext // what the function gets; ends with the session
	cancel context.CancelCauseFunc
	from   origin
	called function   // what from is, but for a request
	over   endedError // what ended is, in the end
	tally  tally

	turn turn // whose turn it is to use the connection

	mu       sync.Mutex            // guards all below; nothing blocks under it
	conn     *sql.Conn             // kept since the last statement, or in use; nil if there is none
	settings *ctxsettings.Settings // of the last statement on it
	carries  bool                  // a statement has left something in the server's session
	ended    error
	linger   *time.Timer
	idleAt   time.Time // since when conn is kept unused; zero while it is in use
	open     []*openContext

	nextHold, prevHold *session // see holds
}

// Do calls f with a context that belongs to a session, and returns f's error. The session ends with f, however that
// ends: see the package's comment. Within a session of the same database, f becomes a part of that.
//
// If ctx belongs to a session that is over, f is not called, and the error is ErrEnded.
func (db *DB) Do(ctx context.Context, f func(ctx context.Context) error) error {
	return db.run(ctx, functionOf(f), f)
}

// run is Do for f, which calls the application's function.
func (db *DB) run(ctx context.Context, called function, f func(ctx context.Context) error) error {
	if s := db.scopeOf(ctx); s != nil {
		if err := s.session.end(); err != nil {
			return err
		}
		return f(ctx)
	}
	s := db.begin(ctx)
	s.called = called
	s.from = &s.called
	return s.run(f)
}

// begin returns a session that has all but its origin. It is one allocation as far as that can be: there is one for each
// request.
func (db *DB) begin(ctx context.Context) *session {
	s := &session{db: db}
	s.turn.init()
	ctx = db.told.begin(ctx, &s.tally)
	ctx, s.cancel = context.WithCancelCause(ctx)
	s.ctx = scopedContext{ctx, db, scope{session: s}}
	return s
}

// run calls f, and closes the session even if f panics or calls runtime.Goexit.
func (s *session) run(f func(ctx context.Context) error) (err error) {
	outcome := endedAborted
	defer func() { s.close(outcome) }()
	err = f(&s.ctx)
	outcome = outcomeOf(err)
	return err
}

// end returns the error of what comes after the end, nil before that.
func (s *session) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// close ends the session. What still runs in other goroutines gives its connection back by itself.
func (s *session) close(o outcome) {
	s.over = endedError{"session", s.from}
	err := &s.over
	s.mu.Lock()
	s.ended = err
	left, kept := slices.Clone(s.open), s.conn != nil
	if s.linger != nil {
		s.linger.Stop()
	}
	s.mu.Unlock()
	s.cancel(err)
	for _, o := range left {
		s.db.told.leftOpen(&s.tally, o)
		o.end(err)
	}
	if kept && s.turn.try() { // who takes a connection only now gives it back by itself
		s.leave()
	}
	s.db.told.end(&s.tally, o)
}

// remember keeps o among what is open. It reports the session's end, if that came first.
func (s *session) remember(o *openContext) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.open = append(s.open, o)
	}
	return s.ended
}

func (s *session) forget(o *openContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.open, o); i >= 0 {
		s.open = slices.Delete(s.open, i, i+1)
	}
}

// openIn returns the rows that are open in the transaction whose turns are t.
func (s *session) openIn(t *turn) []*openContext {
	s.mu.Lock()
	defer s.mu.Unlock()
	var open []*openContext
	for _, o := range s.open {
		if o.turn == t {
			open = append(open, o)
		}
	}
	return open
}
