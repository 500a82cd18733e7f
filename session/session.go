package session

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// session is one call of Do, from beginning to end.
type session struct {
	db     *DB
	ctx    scopedContext // what the function gets; ends with the session
	cancel context.CancelCauseFunc
	from   origin
	called function // what from is, but for a request
	paced  bool     // its statements' gaps under load are counted
	tally  tally

	turn turn // whose turn it is to use the connection

	mu       sync.Mutex            // guards all below; nothing blocks under it
	conn     *sql.Conn             // kept since the last statement, or in use; nil if there is none
	settings *ctxsettings.Settings // of the last statement on it
	carries  bool                  // a statement has left something in the server's session
	over     bool
	unfollow func() bool // see follow
	idle     bool        // conn is kept unused
	ran      int         // statements on conn so far
	open     []*opening

	nextHold, prevHold *session      // see holds
	heldSince          time.Duration // since start
	returned           atomic.Int64  // when the last statement in line has ended, since start; 0 if that was counted
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

// pacedOf is how many sessions there are for one whose gaps are counted under load. To count all would be to read the clock
// twice for each statement.
const pacedOf = 16

// begin returns a session that has all but its origin. It is one allocation as far as that can be: there is one for each
// request.
func (db *DB) begin(ctx context.Context) *session {
	s := &session{db: db}
	ctx = db.told.begin(ctx, &s.tally)
	s.paced = s.tally.started/time.Microsecond%pacedOf == 0 // as good as at random
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
	return s.endedLocked()
}

// endedLocked is end for who holds the mutex.
func (s *session) endedLocked() error {
	if s.over {
		return (*endedSession)(s)
	}
	return nil
}

// close ends the session. What still runs in other goroutines gives its connection back by itself.
func (s *session) close(o outcome) {
	err := (*endedSession)(s)
	s.mu.Lock()
	s.over = true
	left, kept := slices.Clone(s.open), s.conn != nil
	if s.unfollow != nil {
		s.unfollow()
	}
	s.mu.Unlock()
	s.cancel(err)
	for _, o := range left {
		s.db.told.leftOpen(&s.tally, o)
		o.watcher.end(err)
	}
	if kept {
		s.yield() // who takes a connection only now gives it back by itself
	}
	s.db.told.end(&s.tally, o)
}

// remember keeps o among what is open. It reports the session's end, if that came first.
func (s *session) remember(o *opening) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.open = append(s.open, o)
	}
	return s.endedLocked()
}

func (s *session) forget(o *opening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.open, o); i >= 0 {
		s.open = slices.Delete(s.open, i, i+1)
	}
}

// owns tells whether a context ends when the session's does, and never before.
func (s *session) owns(ctx context.Context) bool {
	return ctx == context.Context(&s.ctx) || ctx.Done() == s.ctx.Done()
}

// follow ends o, which is remembered, when the session's context ends. All have one function registered there: to register one
// for each is much of what a statement costs.
func (s *session) follow(o *opening) {
	s.mu.Lock()
	if s.unfollow == nil {
		s.unfollow = context.AfterFunc(s.ctx.Context, s.endOpen)
	}
	s.mu.Unlock()
	if err := s.ctx.Err(); err != nil {
		o.watcher.end(err)
	}
}

// endOpen ends what is open, when the session's context has ended before the session.
func (s *session) endOpen() {
	s.mu.Lock()
	open := slices.Clone(s.open)
	s.mu.Unlock()
	for _, o := range open {
		if o.owned {
			o.watcher.end(s.ctx.Err())
		}
	}
}

// openIn returns the rows that are open in the transaction whose turns are t.
func (s *session) openIn(t *turn) []*openContext {
	s.mu.Lock()
	defer s.mu.Unlock()
	var open []*openContext
	for _, o := range s.open {
		if c, ok := o.watcher.(*openContext); ok && o.turn == t {
			open = append(open, c)
		}
	}
	return open
}
