package session

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// level is a transaction or a savepoint in one: what a context of Tx belongs to. The transaction's mutex guards it.
type level struct {
	transaction *transaction
	parent      *level // nil of a transaction
	from        function
	name        string // of the savepoint
	child       *level // the one that is under way within it
	ended       error
	undone      bool          // a level around it was rolled back, and its savepoint is gone
	over        chan struct{} // closed when it is no longer its parent's child
}

func newLevel(t *transaction, parent *level, from function) *level {
	return &level{transaction: t, parent: parent, from: from, over: make(chan struct{})}
}

// enter takes the turn for a statement. It waits for a savepoint to end, though not for ever: the statement may be part of
// that savepoint's function, which uses the outer context by mistake.
func (l *level) enter(ctx context.Context) error {
	t, patience := l.transaction, l.transaction.session.db.options.patience
	for {
		if err := t.turn.wait(ctx, patience); err != nil {
			return err
		}
		child, err := l.state()
		if err == nil && child == nil {
			return nil
		}
		t.turn.done()
		if err != nil {
			return err
		}
		if err := child.await(ctx, patience); err != nil {
			return err
		}
	}
}

func (l *level) state() (child *level, ended error) {
	l.transaction.mu.Lock()
	defer l.transaction.mu.Unlock()
	return l.child, l.ended
}

func (l *level) await(ctx context.Context, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-l.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &busyError{"nested transaction", l.from}
	}
}

// end lets no further statement in, nor into what is nested in it.
func (l *level) end() error {
	l.transaction.mu.Lock()
	defer l.transaction.mu.Unlock()
	if l.ended == nil {
		l.ended = &endedTransaction{l.from}
	}
	for inner := l.child; inner != nil; inner = inner.child {
		if inner.ended == nil {
			inner.ended = l.ended
		}
	}
	return l.ended
}

// alone waits for the statement that still runs when a level has ended. It is an error if a nested transaction is under way
// in another goroutine: to keep what the level did would be to keep half of that one.
func (l *level) alone(ctx context.Context) error {
	if err := l.transaction.turn.take(ctx); err != nil {
		return err
	}
	defer l.transaction.turn.done()
	if child, _ := l.state(); child != nil {
		return &busyError{"nested transaction", child.from}
	}
	return nil
}

func (l *level) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	t := l.transaction
	defer t.turn.done()
	defer t.session.tally.statement(t.session.db, query).done()
	t.leaves(query)
	res, err := t.tx.ExecContext(ctx, query, args...)
	return res, t.note(err)
}

func (l *level) query(ctx context.Context, from caller, query string, args []any) (*sql.Rows, error) {
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	t := l.transaction
	defer t.session.tally.statement(t.session.db, query).done()
	t.leaves(query)
	o := t.session.newOpenContext(ctx, from, kindRows, &t.turn)
	rows, err := o.query(t.tx, query, args)
	if err != nil {
		t.turn.done()
	}
	return rows, t.note(err)
}

func (l *level) queryRow(ctx context.Context, from caller, query string, args []any) *sql.Row {
	t := l.transaction
	if err := l.enter(ctx); err != nil {
		return t.session.db.failedRow(ctx, err)
	}
	defer t.session.tally.statement(t.session.db, query).done()
	t.leaves(query)
	o := t.session.newOpenContext(ctx, from, kindRow, &t.turn)
	row := o.queryRow(t.tx, query, args)
	err := row.Err()
	if err == nil {
		return row
	}
	t.turn.done()
	if told := t.note(err); told != err { //nolint:errorlint // whether there is more to tell
		return t.session.db.failedRow(ctx, told)
	}
	return row
}

func (l *level) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	defer l.transaction.turn.done()
	stmt, err := l.transaction.tx.PrepareContext(ctx, query)
	return stmt, l.transaction.note(err)
}

// leaves looks whether a statement leaves something behind that outlives the transaction.
func (t *transaction) leaves(query string) {
	if t.session.db.leaves(query) {
		t.lent.carries()
	}
}

// note looks at the error of a statement, and adds why the transaction is over if it was rolled back meanwhile.
func (t *transaction) note(err error) error {
	if err == nil {
		return nil
	}
	if lostConflict(err) {
		t.mu.Lock()
		t.conflict = err
		t.mu.Unlock()
	}
	if errors.Is(err, sql.ErrTxDone) && t.begun.Context.Err() != nil {
		return fmt.Errorf("%w: %w", t.begun.Context.Err(), err)
	}
	return t.session.naming(err)
}

// spoil keeps the transaction from being committed.
func (t *transaction) spoil(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.spoiled == nil {
		t.spoiled = err
	}
}

// troubles returns what spoils the transaction, and the last conflict that it lost.
func (t *transaction) troubles() (spoiled, conflict error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spoiled, t.conflict
}
