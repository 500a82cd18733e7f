package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// lent is the connection of a transaction: the session's, or one of its own if that is busy.
type lent struct {
	conn    *sql.Conn // nil if it is known to database/sql only
	session *session  // whose connection it is; nil if it is its own
}

// lend takes a connection for a transaction.
func (s *session) lend(ctx context.Context) (*lent, error) {
	s.mu.Lock()
	carries := s.carries
	s.mu.Unlock()
	switch {
	case carries:
		if err := s.turn.wait(ctx, s.db.options.patience); err != nil {
			return nil, err
		}
	case !s.turn.try():
		return s.lendAnother(ctx)
	}
	conn, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	return &lent{conn, s}, nil
}

func (s *session) lendAnother(ctx context.Context) (*lent, error) {
	if err := s.end(); err != nil {
		return nil, err
	}
	waits := s.tally.waiting()
	conn, err := s.db.sql.Conn(ctx)
	waits.done()
	if err != nil {
		return nil, s.naming(err)
	}
	s.tally.checkouts.Add(1)
	return &lent{conn: conn}, nil
}

// end ends the loan. err tells whether the connection may be kept: if not, database/sql and the driver find out what
// becomes of it.
func (l *lent) end(err error) {
	switch {
	case l.session != nil && err == nil:
		l.session.leave()
	case l.session != nil:
		l.session.discard()
	case l.conn != nil:
		closeConn(l.conn)
	}
}

// carried tells whether the connection carries what an earlier statement has left there.
func (l *lent) carried() bool {
	if l.session == nil {
		return false
	}
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	return l.session.carries
}

// carries is called when a statement is about to run that leaves something in the server's session.
func (l *lent) carries() {
	if l.session != nil {
		l.session.keep()
	}
}

// broken tells whether a statement was not run because its connection is broken.
func broken(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone)
}
