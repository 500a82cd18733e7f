package pgsafe

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Stmt is a prepared statement whose Close leaves it on the physical connection. database/sql closes a lease's
// statements with the lease; pgx's own driver would DEALLOCATE each and PREPARE it again for the next lease.
type Stmt struct {
	lease     *Conn
	on        *physical // where it was prepared: the lease may hold another by now
	key       string
	inputs    int
	inherited bool // prepared by an earlier Stmt, and not run by this one yet
	leaves    *residue
}

var (
	_ driver.Stmt             = (*Stmt)(nil)
	_ driver.StmtExecContext  = (*Stmt)(nil)
	_ driver.StmtQueryContext = (*Stmt)(nil)
)

// keyOf is the text under which pgx knows the statement. pgx runs any query whose text is that of a prepared
// statement as that statement (Conn.Exec, Conn.Query); the blank keeps a statement that outlives its Stmt from
// taking over the application's plain queries with the same text.
func keyOf(text string) string { return text + " " }

// prepare makes a statement on a lease that is in use.
func prepare(ctx context.Context, l *Conn, text string) (*Stmt, error) {
	s := &Stmt{lease: l, key: keyOf(text), leaves: l.connector.residueOf(text)}
	l.countOpen(s.key, +1)
	if err := s.prepare(ctx); err != nil {
		l.countOpen(s.key, -1)
		return nil, err
	}
	return s, nil
}

func (s *Stmt) prepare(ctx context.Context) error {
	s.on = s.lease.phys
	s.inherited = s.on.statements.has(s.key)
	inputs, err := s.on.statements.prepare(ctx, s.lease, s.key)
	if err == nil { // database/sql goes on asking for it after an error
		s.inputs = inputs
	}
	return err
}

// countOpen keeps the number of open statements with one text, which trim must spare.
func (l *Conn) countOpen(key string, by int) {
	if l.open == nil {
		l.open = make(map[string]int)
	}
	if l.open[key] += by; l.open[key] == 0 {
		delete(l.open, key)
	}
}

// ready makes sure that the statement is prepared on the connection that the lease holds now.
func (s *Stmt) ready(ctx context.Context) error {
	if err := s.lease.useFor(ctx, s.leaves); err != nil {
		return err
	}
	if s.on == s.lease.phys && s.on.statements.has(s.key) {
		return nil
	}
	return s.prepare(ctx)
}

// NumInput is the number of the statement's parameters.
func (s *Stmt) NumInput() int { return s.inputs }

// ExecContext runs the statement without returning rows.
func (s *Stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	res, err := runStmt(ctx, s, func() (driver.Result, error) { return s.lease.stdConn.ExecContext(ctx, s.key, args) })
	return res, s.lease.ended(ctx, err)
}

// QueryContext runs the statement and returns its rows, a *Rows.
func (s *Stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := runStmt(ctx, s, func() (driver.Rows, error) { return s.lease.stdConn.QueryContext(ctx, s.key, args) })
	return s.lease.queried(ctx, rows, err)
}

// runStmt runs the statement. One that an earlier Stmt has left behind, and that the server will not run as it is,
// is prepared anew and run once more, since the application has just prepared it and knows nothing of the other.
func runStmt[T any](ctx context.Context, s *Stmt, run func() (T, error)) (T, error) {
	if err := s.ready(ctx); err != nil {
		var none T
		return none, err
	}
	res, err := run()
	s.on.statements.note(s.key, err)
	if s.inherited && err != nil && neverBegan(err) && s.on.reusable() {
		s.inherited = false
		if err := s.ready(ctx); err != nil {
			return res, err
		}
		res, err = run()
		s.on.statements.note(s.key, err)
	}
	s.inherited = s.inherited && err != nil
	return res, err
}

// neverBegan recognises the two ways in which the server refuses a prepared statement before it runs: its result type
// changed (plancache.c, RevalidateCachedQuery), or it is gone. The same codes from inside a function have a context.
func neverBegan(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Where == "" &&
		(pgErr.Code == "26000" || pgErr.Code == "0A000" && pgErr.Routine == "RevalidateCachedQuery")
}

// Exec is what driver.Stmt must have; database/sql calls ExecContext.
func (s *Stmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.New("pgsafe: Stmt.Exec is not implemented, use ExecContext")
}

// Query is what driver.Stmt must have; database/sql calls QueryContext.
func (s *Stmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("pgsafe: Stmt.Query is not implemented, use QueryContext")
}

// Close forgets the statement. It stays prepared on the connection, within the bound of statement_cache_capacity.
func (s *Stmt) Close() error {
	l := s.lease
	l.countOpen(s.key, -1)
	// database/sql may close a statement on a lease that it just put aside; the connection is out of reach then. After a
	// cancelled statement it is not worth the round trip of clearing it.
	if l.state.Load() != leaseHeld || s.on != l.phys || !l.phys.reusable() || l.phys.guard.Fenced() {
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
	nameless bool                     // they are described, not prepared: see poolers
	byKey    map[string]*list.Element // of *statement
	recent   list.List                // most recently used first
}

type statement struct {
	key    string
	inputs int
	stale  bool // the server will not run it as it is; prepare it anew
}

func newStatements(conn *pgx.Conn) *statements {
	return &statements{
		capacity: conn.Config().StatementCacheCapacity,
		nameless: nameless(conn),
		byKey:    make(map[string]*list.Element),
	}
}

// has tells whether the statement is prepared and usable, and counts as a use.
func (s *statements) has(key string) bool {
	e, ok := s.byKey[key]
	if !ok || e.Value.(*statement).stale {
		return false
	}
	s.recent.MoveToFront(e)
	return true
}

// prepare returns the number of the statement's parameters. It costs no round trip if that is prepared already.
func (s *statements) prepare(ctx context.Context, l *Conn, key string) (inputs int, err error) {
	if l.stdConn.Conn().IsClosed() {
		return 0, driver.ErrBadConn // nothing was sent, so database/sql may go on with another
	}
	if s.has(key) {
		return s.byKey[key].Value.(*statement).inputs, nil
	}
	if err := s.drop(ctx, l, key); err != nil {
		return 0, err
	}
	sd, err := s.create(ctx, l.stdConn.Conn(), key)
	if err != nil {
		return 0, err
	}
	inputs = len(sd.ParamOIDs)
	s.byKey[key] = s.recent.PushFront(&statement{key: key, inputs: inputs})
	return inputs, s.trim(ctx, l)
}

// trim deallocates what is over capacity, except what the lease has open.
func (s *statements) trim(ctx context.Context, l *Conn) error {
	for e := s.recent.Back(); e != nil && s.recent.Len() > s.capacity; {
		key := e.Value.(*statement).key
		e = e.Prev()
		if l.open[key] > 0 {
			continue
		}
		if err := s.drop(ctx, l, key); err != nil {
			return err
		}
	}
	return nil
}

// drop deallocates a statement on the server, if it is prepared.
func (s *statements) drop(ctx context.Context, l *Conn, key string) error {
	e, ok := s.byKey[key]
	if !ok {
		return nil
	}
	if err := s.destroy(ctx, l.stdConn.Conn(), key); err != nil {
		return err
	}
	s.recent.Remove(e)
	delete(s.byKey, key)
	return nil
}

// note marks a statement as stale if err says that the server will not run it any more as it was prepared: its result
// type changed (0A000), it is gone (26000), or what it names is no longer what it was (class 42). Without that a
// statement would outlive the application's own remedy, to close it and prepare it again.
func (s *statements) note(key string, err error) {
	var pgErr *pgconn.PgError
	if err == nil || !errors.As(err, &pgErr) {
		return
	}
	if pgErr.Code == "0A000" || pgErr.Code == "26000" || strings.HasPrefix(pgErr.Code, "42") {
		if e, ok := s.byKey[key]; ok {
			e.Value.(*statement).stale = true
		}
	}
}
