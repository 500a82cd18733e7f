package session

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// runner is what runs a statement: the connection, the transaction or the pool.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// runnerFor takes what a statement outside of transactions runs on. Unless it is the pool, it is this statement's turn, which
// leave or leaveRows ends.
func (s *session) runnerFor(ctx context.Context, query string) (on runner, held bool, err error) {
	leaves := s.db.leaves(query)
	held, err = s.enter(ctx, leaves)
	if err != nil {
		return nil, false, err
	}
	if !held {
		s.tally.checkouts.Add(1)
		return s.db.sql, false, nil
	}
	conn, err := s.take(ctx)
	if err != nil {
		return nil, false, err
	}
	if leaves {
		s.keep()
	}
	return conn, true, nil
}

// leaves tells whether a text leaves something in the server's session.
func (db *DB) leaves(query string) bool {
	return db.pool != nil && db.pool.Leaves(query)
}

func (s *session) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	on, held, err := s.runnerFor(ctx, query)
	if err != nil {
		return nil, err
	}
	ran := s.tally.statement(s.db, query)
	res, err := on.ExecContext(ctx, query, args...)
	ran.done()
	if held {
		again := err != nil && s.lost(err)
		s.leave()
		if again {
			res, err = s.db.sql.ExecContext(ctx, query, args...)
		}
	}
	return res, s.naming(err)
}

func (s *session) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	on, held, err := s.runnerFor(ctx, query)
	if err != nil {
		return nil, err
	}
	ran := s.tally.statement(s.db, query)
	defer ran.done()
	if !held && s.endsWith(ctx) {
		return s.db.sql.QueryContext(ctx, query, args...)
	}
	o := s.newOpenContext(ctx, kindRows)
	if held {
		o.turn, o.release = &s.turn, s.leaveRows
	}
	rows, err := o.query(on, query, args)
	if err == nil || !held {
		return rows, err
	}
	again := s.lost(err)
	s.leave()
	if again {
		return s.newOpenContext(ctx, kindRows).query(s.db.sql, query, args)
	}
	return nil, err
}

func (s *session) queryRow(ctx context.Context, query string, args []any) *sql.Row {
	on, held, err := s.runnerFor(ctx, query)
	if err != nil {
		return s.db.failedRow(ctx, err)
	}
	ran := s.tally.statement(s.db, query)
	defer ran.done()
	if !held && s.endsWith(ctx) {
		return s.db.sql.QueryRowContext(ctx, query, args...)
	}
	o := s.newOpenContext(ctx, kindRow)
	if held {
		o.turn, o.release = &s.turn, s.leaveRows
	}
	row := o.queryRow(on, query, args)
	if row.Err() == nil || !held {
		return row
	}
	again := s.lost(row.Err())
	s.leave()
	if again {
		return s.newOpenContext(ctx, kindRow).queryRow(s.db.sql, query, args)
	}
	return row
}

// endsWith tells whether database/sql can be left to close the rows of a query with ctx when the session ends, unwatched:
// under load, when it matters what a statement costs, and if the end of the session reaches ctx. A context that has no
// end was cut off from it (context.WithoutCancel).
func (s *session) endsWith(ctx context.Context) bool {
	return ctx.Done() != nil && s.db.holds.pressure.recent()
}

// query runs a query whose rows are watched. If it returns rows, release is called when they are closed; if it returns
// an error it is not.
func (o *openContext) query(on runner, query string, args []any) (*sql.Rows, error) {
	if err := o.begin(); err != nil {
		return nil, err
	}
	rows, err := on.QueryContext(o, query, args...)
	if err != nil {
		return nil, o.failed(err)
	}
	if !o.opened() {
		_ = rows.Close() // what there is to say is in their Err
		return nil, o.failed(o.closedBefore(rows.Err()))
	}
	return rows, nil
}

// queryRow is query for a single row, whose Err is the error.
func (o *openContext) queryRow(on runner, query string, args []any) *sql.Row {
	if err := o.begin(); err != nil {
		return o.session.db.failedRow(o, err)
	}
	row := on.QueryRowContext(o, query, args...)
	if err := row.Err(); err != nil {
		_ = o.failed(err)
		return row
	}
	if !o.opened() {
		return o.session.db.failedRow(o, o.failed(o.closedBefore(row.Scan()))) // Scan closes the rows first
	}
	return row
}

// closedBefore is the error of rows that were closed before anybody could read them: because the context has ended, or
// the transaction. err is theirs, and may be nil if we were the first to close them.
func (o *openContext) closedBefore(err error) error {
	return cmp.Or(err, o.Err(), sql.ErrTxDone)
}

// begin starts watching.
func (o *openContext) begin() error {
	if o.turn != nil {
		o.turn.rows.Store(o)
	}
	if err := o.session.remember(o); err != nil {
		return err
	}
	o.follow()
	return nil
}

// failed ends the watching, and returns the error.
func (o *openContext) failed(err error) error {
	o.stopFollowing()
	o.session.forget(o)
	return o.session.naming(err)
}

// naming adds the session's end to the error of something that it has cancelled.
func (s *session) naming(err error) error {
	if ended := s.end(); ended != nil && errors.Is(err, context.Canceled) && !errors.Is(err, ErrEnded) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

func (s *session) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := s.end(); err != nil {
		return nil, err
	}
	s.yield() // it would be one connection more
	s.tally.checkouts.Add(1)
	return s.db.sql.PrepareContext(ctx, query)
}

func (s *session) beginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	s.yield() // it would be one connection more
	o := s.newOpenContext(ctx, kindTransaction)
	if err := o.begin(); err != nil {
		return nil, err
	}
	s.tally.checkouts.Add(1)
	tx, err := s.db.sql.BeginTx(o, opts)
	if err != nil {
		return nil, o.failed(err)
	}
	o.opened()
	return tx, nil
}
