package scope

import "sync/atomic"

// Use is one use of a connection by a handle for a session: a statement, its rows, a transaction, or a
// *sql.Conn. It is part of the handle. The zero value is no use.
type Use struct {
	session *Session
	text    string
	site    site
	state   atomic.Uint32 // a Left

	prev, next *Use // guarded by the session's mutex
}

// Left is what a session may leave open.
type Left uint32

// What may be left open.
const (
	LeftConnection Left = iota // a *sql.Conn, or a statement that still runs
	LeftRows
	LeftTransaction
)

// String is the value of pgsafe.left_open.kind.
func (l Left) String() string {
	switch l {
	case LeftRows:
		return "rows"
	case LeftTransaction:
		return "transaction"
	}
	return "connection"
}

// Begin notes that a handle uses a connection for a session, which may be nil. The handle calls End.
func (u *Use) Begin(s *Session, text string) {
	if s == nil {
		return
	}
	u.session, u.text, u.site = s, text, s.home.leaks.site(text)
	u.state.Store(uint32(LeftConnection))
	s.mu.Lock()
	defer s.mu.Unlock()
	u.prev, u.next = nil, s.open
	if s.open != nil {
		s.open.prev = u
	}
	s.open = u
}

// End ends the use.
func (u *Use) End() {
	s := u.session
	if s == nil {
		return
	}
	u.session = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case u.prev != nil:
		u.prev.next = u.next
	case s.open == u:
		s.open = u.next
	}
	if u.next != nil {
		u.next.prev = u.prev
	}
	u.prev, u.next = nil, nil
}

// opened is what a session has open when it ends.
type opened struct {
	kind Left
	text string
	site site
}

// openLocked lists what the session has open.
func (s *Session) openLocked() []opened {
	var all []opened
	for u := s.open; u != nil; u = u.next {
		all = append(all, opened{Left(u.state.Load()), u.text, u.site})
	}
	return all
}
