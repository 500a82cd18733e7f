package session

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// errIsolation is what a nested transaction gets that wants a level of its own.
var errIsolation = errors.New("session: a nested transaction has the isolation level of the outer one")

// nest runs f in a savepoint.
func (l *level) nest(ctx context.Context, from function, opts *TxOptions, f func(ctx context.Context) error) error {
	if opts.Isolation != sql.LevelDefault && opts.Isolation != l.transaction.options.Isolation {
		return errIsolation
	}
	inner, err := l.savepoint(ctx, from, opts)
	if err != nil {
		return err
	}
	s := l.transaction.session
	innerCtx, cancel := context.WithCancelCause(&scopedContext{ctx, s.db, scope{s, inner}})
	succeeded := false
	defer func() {
		if !succeeded { // f has returned an error, panicked or called Goexit, and that goes on
			inner.rollBackTo(ctx, cancel)
		}
	}()
	if err := f(innerCtx); err != nil {
		return err
	}
	succeeded = true
	return inner.release(ctx, cancel)
}

// savepoint begins a level within l.
func (l *level) savepoint(ctx context.Context, from function, opts *TxOptions) (*level, error) {
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	t := l.transaction
	defer t.turn.done()
	inner := newLevel(t, l, from)
	t.mu.Lock()
	t.names++
	inner.name = fmt.Sprintf("pgsafe_%d", t.names)
	t.mu.Unlock()
	if _, err := t.tx.ExecContext(ctx, "SAVEPOINT "+inner.name); err != nil {
		return nil, t.note(err)
	}
	if opts.ReadOnly && !t.options.ReadOnly {
		// The server ends this with the savepoint (xact.c, CommitSubTransaction and AbortSubTransaction).
		if _, err := t.tx.ExecContext(ctx, "SET TRANSACTION READ ONLY"); err != nil {
			t.spoil(err)
			return nil, t.note(err)
		}
	}
	t.mu.Lock()
	l.child, inner.ended = inner, l.ended // which may have ended meanwhile
	t.mu.Unlock()
	return inner, nil
}

// release ends a level and keeps what was done in it.
func (l *level) release(ctx context.Context, cancel context.CancelCauseFunc) error {
	ended := l.end()
	l.transaction.closeRows(func(o *openContext) { o.endQuietly(ended) })
	if ctx.Err() != nil {
		l.rollBackTo(ctx, cancel)
		return ctx.Err()
	}
	defer cancel(ended)
	err := l.alone(ctx)
	if err == nil {
		err = l.finish(ctx, release)
	}
	if err != nil {
		l.rollBackTo(ctx, cancel)
		return err
	}
	l.leave()
	return nil
}

// rollBackTo ends a level and undoes what was done in it. If that fails, the whole transaction cannot be committed.
func (l *level) rollBackTo(ctx context.Context, cancel context.CancelCauseFunc) {
	ended := l.end()
	l.transaction.closeRows(func(o *openContext) { o.end(ended) })
	cancel(ended)
	if err := l.finish(ctx, rollBackTo); err != nil {
		l.transaction.spoil(err)
	}
	l.leave()
}

// The statements that end a level.
const (
	release    = "RELEASE SAVEPOINT "
	rollBackTo = "ROLLBACK TO SAVEPOINT "
)

// finish sends the statement that ends a level, when those that run in it have ended, whatever has become of ctx.
func (l *level) finish(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	t := l.transaction
	if err := t.turn.take(ctx); err != nil {
		return err
	}
	defer t.turn.done()
	if ended, undone := l.undoneWith(); undone && statement == rollBackTo {
		return nil
	} else if undone {
		return ended
	}
	_, err := t.tx.ExecContext(ctx, statement+l.name)
	if err == nil && statement == rollBackTo {
		l.undo()
	}
	return t.note(err)
}

// undoneWith tells whether a level around l was rolled back, and how l has ended.
func (l *level) undoneWith() (ended error, undone bool) {
	l.transaction.mu.Lock()
	defer l.transaction.mu.Unlock()
	return l.ended, l.undone
}

// undo tells the levels within l that their savepoints are gone. There are some only if other goroutines still run them.
func (l *level) undo() {
	l.transaction.mu.Lock()
	defer l.transaction.mu.Unlock()
	for inner := l.child; inner != nil; inner = inner.child {
		inner.undone = true
	}
}

// leave lets the statements of the outer level go on.
func (l *level) leave() {
	l.transaction.mu.Lock()
	l.parent.child = nil
	l.transaction.mu.Unlock()
	close(l.over)
}
