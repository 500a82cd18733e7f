package pgsafe

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// stdStmt is an alias for the reason that stdConn is one.
type stdStmt = stdlib.Stmt

// Stmt is pgx's *stdlib.Stmt whose Close leaves the statement on the physical connection. database/sql closes a
// lease's statements with the lease; pgx alone would DEALLOCATE each and PREPARE it again for the next lease.
type Stmt struct {
	*stdStmt

	lease *Conn
	on    *physical // where it was prepared: the lease may hold another by now
	text  string
}

var (
	_ driver.Stmt             = (*Stmt)(nil)
	_ driver.StmtExecContext  = (*Stmt)(nil)
	_ driver.StmtQueryContext = (*Stmt)(nil)
)

// prepare makes a statement on a lease that is in use.
func prepare(ctx context.Context, l *Conn, text string) (*Stmt, error) {
	l.countOpen(text, +1)
	std, err := l.phys.statements.prepare(ctx, l, text)
	if err != nil {
		l.countOpen(text, -1)
		return nil, err
	}
	return &Stmt{stdStmt: std, lease: l, on: l.phys, text: text}, nil
}

// countOpen keeps the number of open statements with one text, which trim must spare.
func (l *Conn) countOpen(text string, by int) {
	if l.open == nil {
		l.open = make(map[string]int)
	}
	if l.open[text] += by; l.open[text] == 0 {
		delete(l.open, text)
	}
}

// ready makes sure that the statement is prepared on the connection that the lease holds now.
func (s *Stmt) ready(ctx context.Context) error {
	if err := s.lease.use(ctx); err != nil {
		return err
	}
	if s.on == s.lease.phys && s.on.statements.has(s.text) {
		return nil
	}
	std, err := s.lease.phys.statements.prepare(ctx, s.lease, s.text)
	if err != nil {
		return err
	}
	s.stdStmt, s.on = std, s.lease.phys
	return nil
}

// ExecContext runs the statement without returning rows.
func (s *Stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	res, err := s.stdStmt.ExecContext(ctx, args)
	s.on.statements.note(s.text, err)
	return res, err
}

// QueryContext runs the statement and returns pgx's own rows.
func (s *Stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	rows, err := s.stdStmt.QueryContext(ctx, args)
	s.on.statements.note(s.text, err)
	return rows, err
}

// Close forgets the statement. It stays prepared on the connection, within the bound of statement_cache_capacity.
func (s *Stmt) Close() error {
	l := s.lease
	l.countOpen(s.text, -1)
	// database/sql may close a statement on a lease that it just put aside; the connection is out of reach then.
	if l.state.Load() != leaseHeld || s.on != l.phys || !l.phys.reusable() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	return s.on.statements.trim(ctx, l)
}

// statements are the prepared statements of one physical connection, the least recently used first to go. Only the
// connection's holder touches them.
type statements struct {
	capacity int
	byText   map[string]*list.Element // of *statement
	recent   list.List                // most recently used first
}

type statement struct {
	text  string
	stale bool // the server will not run it as it is; prepare it anew
}

func newStatements(capacity int) *statements {
	return &statements{capacity: capacity, byText: make(map[string]*list.Element)}
}

// has tells whether text is prepared and usable, and counts as a use.
func (s *statements) has(text string) bool {
	e, ok := s.byText[text]
	if !ok || e.Value.(*statement).stale {
		return false
	}
	s.recent.MoveToFront(e)
	return true
}

// prepare returns pgx's statement for text. It costs no round trip if text is prepared already.
func (s *statements) prepare(ctx context.Context, l *Conn, text string) (*stdStmt, error) {
	if !s.has(text) {
		if err := s.drop(ctx, l, text); err != nil {
			return nil, err
		}
	}
	stmt, err := l.stdConn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if !s.has(text) {
		s.byText[text] = s.recent.PushFront(&statement{text: text})
		if err := s.trim(ctx, l); err != nil {
			return nil, err
		}
	}
	return stmt.(*stdStmt), nil
}

// trim deallocates what is over capacity, except what the lease has open.
func (s *statements) trim(ctx context.Context, l *Conn) error {
	for e := s.recent.Back(); e != nil && s.recent.Len() > s.capacity; {
		text := e.Value.(*statement).text
		e = e.Prev()
		if l.open[text] > 0 {
			continue
		}
		if err := s.drop(ctx, l, text); err != nil {
			return err
		}
	}
	return nil
}

// drop deallocates text on the server, if it is prepared.
func (s *statements) drop(ctx context.Context, l *Conn, text string) error {
	e, ok := s.byText[text]
	if !ok {
		return nil
	}
	if l.stdConn.Conn().IsClosed() {
		return driver.ErrBadConn // nothing was sent, so database/sql may go on with another
	}
	if err := l.stdConn.Conn().Deallocate(ctx, text); err != nil {
		return err
	}
	s.recent.Remove(e)
	delete(s.byText, text)
	return nil
}

// note marks text as stale if err says that the server will not run it any more as it was prepared: its result
// type changed (0A000), it is gone (26000), or what it names is no longer what it was (class 42). Without that a
// statement would outlive the application's own remedy, to close it and prepare it again.
func (s *statements) note(text string, err error) {
	var pgErr *pgconn.PgError
	if err == nil || !errors.As(err, &pgErr) {
		return
	}
	if pgErr.Code == "0A000" || pgErr.Code == "26000" || strings.HasPrefix(pgErr.Code, "42") {
		if e, ok := s.byText[text]; ok {
			e.Value.(*statement).stale = true
		}
	}
}
