package session

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"sync"
	"time"
)

// TxOptions say how a transaction runs. The zero value is the server's default, once.
type TxOptions struct {
	// Isolation is the level. Within another transaction it is that one's, or sql.LevelDefault.
	Isolation sql.IsolationLevel

	// ReadOnly transactions cannot write. Within one that can, it holds until the inner one ends.
	ReadOnly bool

	// Retries is how often the function may run again after the first time, if the transaction loses to another (SQLSTATE
	// 40001, 40P01). Zero means never. Within another transaction it has no effect: only the whole can run again.
	Retries int
}

// Tx calls f with a context whose statements are in one transaction, and commits it if f returns nil. If f returns an
// error, panics or calls runtime.Goexit, it is rolled back, and so it is as soon as ctx ends. The error is f's, or that of BEGIN
// or COMMIT: also ErrRolledBack, ErrCommitUnknown, or ctx's if that has ended. opts may be nil.
//
// Within a transaction of the same database it is a savepoint: if f fails, what f did is undone, and the outer
// transaction goes on. While it runs, statements with the outer context wait for it to end, see WithPatience. Outside of
// a session it is one of its own.
//
// With opts.Retries, f may run several times, so it must not change anything outside of the database that cannot be changed twice. Attempt tells how
// often it has. Between two runs there is a pause, random and up to twice as long each time (4 ms to 512 ms), but never
// beyond the deadline of ctx.
func (db *DB) Tx(ctx context.Context, opts *TxOptions, f func(ctx context.Context) error) error {
	return db.tx(ctx, functionOf(f), opts, f)
}

// tx is Tx for f, which calls the application's function from.
func (db *DB) tx(ctx context.Context, from function, opts *TxOptions, f func(ctx context.Context) error) error {
	if opts == nil {
		opts = &TxOptions{}
	}
	s := db.scopeOf(ctx)
	if s == nil {
		return db.run(ctx, from, func(ctx context.Context) error { return db.tx(ctx, from, opts, f) })
	}
	if s.level != nil {
		return s.level.nest(ctx, from, opts, f)
	}
	return s.session.repeat(ctx, opts.Retries, func(ctx context.Context) error {
		return s.session.transact(ctx, from, opts, f)
	})
}

// transaction is one from BEGIN to its end.
type transaction struct {
	session *session
	options *TxOptions
	tx      *sql.Tx
	lent    *lent
	begun   *openContext // what BEGIN was sent with
	turn    turn
	root    *level
	cancel  context.CancelCauseFunc // of what its function gets

	stopAbort func() bool
	aborted   chan struct{} // closed when it was rolled back because its context has ended
	abortErr  error         // of that; to be read when it is closed

	mu       sync.Mutex // guards all below, and the levels; nothing blocks under it
	names    int        // of savepoints so far
	conflict error      // the last one that it lost
	spoiled  error      // why it must not be committed
}

// transact runs f in a transaction, once.
func (s *session) transact(ctx context.Context, from function, opts *TxOptions, f func(ctx context.Context) error) error {
	t, err := s.beginTransaction(ctx, from, opts)
	if err != nil {
		return err
	}
	inner, cancel := context.WithCancelCause(&scopedContext{ctx, s.db, scope{s, t.root}})
	t.cancel = cancel
	succeeded := false
	defer func() {
		if !succeeded { // f has returned an error, panicked or called Goexit, and that goes on
			t.rollBack()
		}
	}()
	if err := f(inner); err != nil {
		return err
	}
	succeeded = true
	return t.commit(ctx)
}

// beginTransaction sends BEGIN, and what the options want to be sent next.
func (s *session) beginTransaction(ctx context.Context, from function, opts *TxOptions) (*transaction, error) {
	l, err := s.lend(ctx)
	if err != nil {
		return nil, err
	}
	t := &transaction{session: s, options: opts, lent: l, cancel: func(error) {}, aborted: make(chan struct{})}
	t.root = newLevel(t, nil, from)
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	if t.lent.session != nil {
		s.turn.tx.Store(uintptr(from))
	}
	t.stopAbort = context.AfterFunc(ctx, func() {
		defer close(t.aborted)
		t.abortErr = t.undo()
	})
	if err := t.limit(ctx); err != nil {
		t.rollBack()
		return nil, err
	}
	return t, nil
}

// begin sends BEGIN. It ends with ctx, and the transaction does not: that would have database/sql roll back with a
// context that is done (Tx.awaitDone), for which drivers give up the connection (pgx's stdlib, wrapTx.Rollback).
func (t *transaction) begin(ctx context.Context) (err error) {
	opts := &sql.TxOptions{Isolation: t.options.Isolation, ReadOnly: t.options.ReadOnly}
	t.begun = t.session.newOpenContext(ctx, 0, kindTransaction, nil)
	t.begun.follow()
	t.tx, err = t.lent.conn.BeginTx(t.begun, opts)
	if err != nil && broken(err) && !t.lent.carried() {
		err = t.beginElsewhere(err, opts)
	}
	if !t.begun.stopFollowing() && err == nil {
		_ = t.tx.Rollback() // database/sql does it too, at once
		err = ctx.Err()
	}
	if err != nil {
		t.lent.end(err)
		return t.session.naming(err)
	}
	return nil
}

// otherConns is how many connections a transaction tries after its first, before it leaves the choice to sql.DB.
const otherConns = 2

// beginElsewhere sends BEGIN on another connection, after err: it was not sent, because the connection is broken. On one that
// it holds the transaction can find out what became of its COMMIT (known). sql.DB makes a new one if all that it has are
// broken, as it does for all statements, but then holds it itself.
func (t *transaction) beginElsewhere(err error, opts *sql.TxOptions) error {
	db := t.session.db.sql
	for range otherConns {
		t.lent.end(err)
		t.lent = &lent{}
		conn, connErr := db.Conn(t.begun)
		if connErr != nil {
			return connErr
		}
		t.lent.conn = conn
		if t.tx, err = conn.BeginTx(t.begun, opts); err == nil || !broken(err) {
			return err
		}
	}
	t.lent.end(err)
	t.lent = &lent{}
	t.tx, err = db.BeginTx(t.begun, opts)
	return err
}

// limit tells the server how much time is left, if the DB was wrapped WithStatementTimeout.
func (t *transaction) limit(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if !ok || !t.session.db.options.deadlines {
		return nil
	}
	left := max(1, time.Until(deadline).Milliseconds()) // 0 would mean no limit
	_, err := t.tx.ExecContext(ctx, "SELECT pg_catalog.set_config('statement_timeout', $1, true)", strconv.FormatInt(left, 10))
	return err
}

// undoTimeout bounds a ROLLBACK that no context bounds any more.
const undoTimeout = 5 * time.Second

// undo sends ROLLBACK, unless the transaction has ended already. Statements that still run in it are cancelled by their contexts; it waits for
// them.
func (t *transaction) undo() error {
	timer := time.AfterFunc(undoTimeout, func() { t.begun.end(context.DeadlineExceeded) })
	defer timer.Stop()
	err := t.tx.Rollback()
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// rollBack ends the transaction without its effects, and gives its connection back.
func (t *transaction) rollBack() {
	ended := t.root.end()
	t.closeRows(func(o *openContext) { o.end(ended) })
	t.cancel(ended)
	var err error
	if t.stopAbort() {
		err = t.undo()
	} else {
		<-t.aborted
		err = t.abortErr
	}
	t.lent.end(err)
}

// closeRows has f close the rows that were left open in the transaction, and reports them.
func (t *transaction) closeRows(f func(*openContext)) {
	for _, o := range t.session.openIn(&t.turn) {
		t.session.db.told.leftOpen(&t.session.tally, &o.opening)
		f(o)
	}
}
