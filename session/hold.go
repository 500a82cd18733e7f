package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// A session holds its connection softly: between statements only while nobody waits for one, or if its next statement can be
// expected at once (pace.go). The one whose turn it is (turn.go) takes the connection with take and gives it back with leave.

// way is how a statement gets its connection.
type way uint8

const (
	beside way = iota // another one, from the pool: the session's is busy
	inLine            // from the pool: the session has none and would not keep one, for which others wait
	onHold            // the session's
)

// enter tells how a statement gets its connection. If that is the session's, it takes the turn.
func (s *session) enter(ctx context.Context, leaves bool) (way, error) {
	s.mu.Lock()
	ended, carries, has := s.endedLocked(), s.carries, s.conn != nil
	s.mu.Unlock()
	switch {
	case ended != nil:
		return beside, ended
	case carries || leaves:
		return onHold, s.turn.wait(ctx, s.db.options.patience)
	case !has && s.db.pressed() && !s.brisk():
		s.db.holds.sweep()
		return inLine, nil
	case s.turn.try():
		return onHold, nil
	}
	return beside, nil
}

// brisk tells whether a connection is kept under pressure. In one session of so many it counts the time since the last
// statement in line.
func (s *session) brisk() bool {
	if since := s.returned.Load(); since != 0 {
		s.returned.Store(0)
		s.db.holds.pace.note(now() - time.Duration(since))
	}
	return s.db.holds.pace.brisk()
}

// returns is called when a statement that had a connection from the pool has ended.
func (s *session) returns() {
	if s.paced {
		s.returned.Store(int64(now()))
	}
}

// take returns the session's connection for something that runs with ctx. It is for the one whose turn it is, who
// calls leave if there is no error.
func (s *session) take(ctx context.Context) (*sql.Conn, error) {
	settings := ctxsettings.Of(ctx)
	s.mu.Lock()
	conn, ended := s.conn, s.endedLocked()
	if conn != nil && settings == nil && s.settings != nil && !s.carries {
		// On a connection that is kept, a statement without settings has those of the one before. What a statement sees must
		// not depend on whether it was kept.
		s.conn = nil
	}
	kept := s.conn != nil
	s.idle, s.settings = false, settings
	s.ran++
	s.mu.Unlock()
	if since, was := s.db.holds.remove(s); was {
		s.db.holds.pace.note(now() - since)
	}
	switch {
	case ended != nil:
		s.leave()
		return nil, ended
	case kept:
		return conn, nil
	case conn != nil:
		closeConn(conn)
	}
	return s.checkOut(ctx)
}

func (s *session) checkOut(ctx context.Context) (*sql.Conn, error) {
	waits := s.tally.waiting()
	conn, err := s.db.sql.Conn(ctx)
	waits.done()
	if err != nil {
		s.turn.done()
		return nil, s.naming(err)
	}
	s.tally.checkouts.Add(1)
	s.mu.Lock()
	s.conn, s.ran = conn, 1
	s.mu.Unlock()
	return conn, nil
}

// leave ends the turn of a statement.
func (s *session) leave() {
	if conn := s.settle(); conn != nil {
		closeConn(conn)
	}
}

// leaveRows ends the turn of rows. They give the connection back to conn only when this has returned (Rows.close), and
// Conn.Close waits for that. database/sql may hold the lock of the driver's connection meanwhile (Rows.close). That of the
// DB, which pressed needs, can be had then: who holds it locks no connection that is in use (DB.Close, noteUnusedDriverStatement).
func (s *session) leaveRows() {
	if conn := s.settle(); conn != nil {
		go closeConn(conn)
	}
}

// discard ends the turn of something that leaves the connection in no state to go on with.
func (s *session) discard() {
	s.mu.Lock()
	conn := s.conn
	s.conn, s.carries = nil, false
	s.mu.Unlock()
	s.turn.done()
	if conn != nil {
		closeConn(conn)
	}
}

// settle ends a turn, and returns the connection if it is to be given back.
func (s *session) settle() *sql.Conn {
	s.mu.Lock()
	conn, pinned, ran := s.conn, s.carries, s.ran
	keep := conn != nil && !s.over && (pinned || s.db.options.linger > 0)
	if !keep {
		s.conn = nil
	}
	s.idle = keep && !pinned
	s.mu.Unlock()
	if !keep {
		s.turn.done()
		return conn
	}
	if !pinned {
		s.db.holds.add(s)
	}
	s.turn.done()
	// Who begins to wait, or ends the session, from now on finds the connection; who has done so before is found here, as is a
	// sweep that came before the turn had ended.
	if s.end() != nil || !pinned && (!s.db.keeps(ran) || !s.db.holds.has(s)) {
		return s.takeIdle()
	}
	return nil
}

// keeps tells whether a connection is kept on which so many statements of a session have run.
func (db *DB) keeps(ran int) bool {
	return !db.pressed() || ran < stint && db.holds.pace.brisk()
}

// yield gives the connection back if it is kept unused.
func (s *session) yield() {
	if conn := s.takeIdle(); conn != nil {
		closeConn(conn)
	}
}

// takeIdle takes the connection from the session if it is kept unused, and does not carry anything.
func (s *session) takeIdle() *sql.Conn {
	if !s.turn.try() {
		return nil
	}
	s.mu.Lock()
	var conn *sql.Conn
	if s.over || s.idle && !s.carries {
		conn, s.conn, s.idle = s.conn, nil, false
	}
	s.mu.Unlock()
	s.db.holds.remove(s)
	s.turn.done()
	return conn
}

// lost is called when a statement was not run because the connection is broken. database/sql has closed it then
// (Conn.closemuRUnlockCondReleaseConn). It reports whether the statement may run elsewhere: unless it needed what the
// connection carried.
func (s *session) lost(err error) bool {
	if !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, sql.ErrConnDone) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	carried := s.carries
	s.conn, s.carries = nil, false
	return !carried
}

// keep is called when a statement is about to run that leaves something on the connection.
func (s *session) keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.carries = true
}

// closeConn gives a connection back. Its error is that it was given back already, by database/sql, because it was broken.
func closeConn(conn *sql.Conn) { _ = conn.Close() }
