package scope

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// endTimeout bounds the end of a transaction whose context has ended.
const endTimeout = 5 * time.Second

// Commit ends the level and keeps what was done in it. It waits for the statements that run, for as
// long as ctx lets it. Rows that are still open end with ErrEnded. If it cannot commit, it rolls back
// as Rollback does, and its error is ErrRolledBack with the reason, or the error of ctx. It is
// sql.ErrTxDone if the level has ended already.
func (l *Level) Commit(ctx context.Context, interrupt func()) error {
	child, err := l.end()
	if err != nil {
		return err
	}
	var obstacle error
	switch {
	case ctx.Err() != nil:
		obstacle = ctx.Err()
	case child != nil:
		obstacle = withCause(ErrRolledBack, &busyError{"the nested transaction of " + child.begun.String() + ", which was left open"})
	default:
		obstacle = l.turn.take(ctx)
		if errors.Is(obstacle, ErrBusy) { // native code keeps its connection
			obstacle = withCause(ErrRolledBack, obstacle)
		}
	}
	if obstacle != nil {
		return errors.Join(obstacle, l.undoAs(ctx, child, interrupt))
	}
	defer l.yield()
	return l.commit(ctx)
}

// Rollback ends the level and undoes what was done in it. interrupt is called if something runs, to
// cancel that; nil waits for it. Rollback does not depend on ctx, which may have ended.
func (l *Level) Rollback(ctx context.Context, interrupt func()) error {
	child, err := l.end()
	if err != nil {
		return err
	}
	return l.undoAs(ctx, child, interrupt)
}

// end lets no further statement in, and returns the level within.
func (l *Level) end() (child *Level, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil, sql.ErrTxDone
	}
	l.ended = true
	return l.child, nil
}

// undoAs takes the turn by force, and undoes.
func (l *Level) undoAs(ctx context.Context, child *Level, interrupt func()) error {
	if interrupt != nil && (child != nil || l.turn.isTaken() || l.conn.streams()) {
		interrupt()
	}
	if !l.force(child) {
		return l.conn.lostNow()
	}
	defer l.yield()
	c := l.conn
	c.wire.Lock()
	defer c.wire.Unlock()
	c.closeRows()
	defer l.over()
	if err := c.lostNow(); err != nil {
		return err
	}
	return l.undo(ctx)
}

// force takes the turn of a level that is rolled back, from what runs and from the levels within. If
// something does not end in time, the connection is cut off and force reports false: the level is
// buried when that leaves.
func (l *Level) force(child *Level) bool {
	if child != nil {
		if inner, err := child.end(); err == nil {
			if !child.force(inner) {
				return l.abandon()
			}
			child.turn.leave() // for statements in its queue, which find that it has ended
			return true        // the turn of l was the child's, and is now l's
		}
	}
	within, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return l.turn.take(within) == nil || l.abandon()
}

// abandon cuts the connection off. It reports true if the turn has become free nonetheless. Else what
// keeps the turn may still use the connection, such as native code: until that leaves, nothing else does.
func (l *Level) abandon() (free bool) {
	l.conn.cut()
	l.abandoned.Store(true)
	if !l.turn.inherit(l.bury) {
		return false
	}
	l.abandoned.Store(false)
	return true
}

// bury ends an abandoned level, when what kept its turn has left.
func (l *Level) bury() {
	c := l.conn
	c.wire.Lock()
	c.closeRows()
	l.over()
	c.wire.Unlock()
	l.yield()
	if l.parent == nil {
		c.free()
	}
}

// yield ends the turns of a level that is over.
func (l *Level) yield() {
	if p := l.parent; p != nil {
		p.mu.Lock()
		p.child = nil
		p.mu.Unlock()
		p.turn.leave()
	}
	l.turn.leave()
}

// over notes that a transaction has ended. The caller has the wire.
func (l *Level) over() {
	if l.savepoint == "" {
		l.conn.inTx = false
	}
}

// commit ends the level on the server.
func (l *Level) commit(ctx context.Context) error {
	c := l.conn
	c.wire.Lock()
	defer c.wire.Unlock()
	c.closeRows()
	defer l.over()
	switch lost := c.lostNow(); {
	case lost != nil:
		return lost
	case c.server.Aborted():
		return withCause(ErrRolledBack, errors.Join(pgx.ErrTxCommitRollback, c.firstError(), l.undo(ctx)))
	case l.savepoint != "":
		return c.exec(context.WithoutCancel(ctx), "RELEASE SAVEPOINT "+l.savepoint)
	}
	err := c.server.Commit(ctx)
	switch {
	case errors.Is(err, pgx.ErrTxCommitRollback):
		return withCause(ErrRolledBack, errors.Join(err, c.firstError()))
	case errors.Is(err, serverconn.ErrCommitUnknown):
		_ = c.settle(err)
		return err
	}
	return c.settleEnd(err)
}

// undo rolls the level back on the server. The caller has the wire.
func (l *Level) undo(ctx context.Context) error {
	c := l.conn
	c.forgive()
	if l.savepoint == "" {
		return c.settleEnd(c.server.Rollback(ctx))
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	err := c.exec(within, "ROLLBACK TO SAVEPOINT "+l.savepoint+"; RELEASE SAVEPOINT "+l.savepoint)
	if err != nil {
		c.server.Close() // upon which the server rolls back the whole
		return c.settle(err)
	}
	return nil
}

// settleEnd is settle for the end of the transaction.
func (c *conn) settleEnd(err error) error {
	c.inTx = false
	return c.settle(err)
}

// Free gives the connection of a transaction that has ended back to the pool.
func (l *Level) Free() {
	if !l.abandoned.Load() {
		l.conn.free()
	}
}
