package session

import (
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

// runnerFor takes what a statement outside of transactions runs on. If it is the session's connection, it is this statement's
// turn, which ranOn or leaveRows ends.
func (s *session) runnerFor(ctx context.Context, query string) (runner, way, error) {
	leaves := s.db.leaves(query)
	how, err := s.enter(ctx, leaves)
	if err != nil {
		return nil, how, err
	}
	if how != onHold {
		s.tally.checkouts.Add(1)
		return s.db.sql, how, nil
	}
	conn, err := s.take(ctx)
	if err != nil {
		return nil, how, err
	}
	if leaves {
		s.keep()
	}
	return conn, how, nil
}

// ranOn ends the turn of a statement that has ended with err, if it was one on the session's connection. It reports whether
// the statement was not run because that is broken, and may run on another one: database/sql finds one that is not.
func (s *session) ranOn(how way, err error) (again bool) {
	if how != onHold {
		s.returns()
		return false
	}
	again = err != nil && s.lost(err)
	s.leave()
	return again
}

// leaves tells whether a text leaves something in the server's session.
func (db *DB) leaves(query string) bool {
	return db.pool != nil && db.pool.Leaves(query)
}

func (s *session) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	on, how, err := s.runnerFor(ctx, query)
	if err != nil {
		return nil, err
	}
	ran := s.tally.statement(s.db, query)
	res, err := on.ExecContext(ctx, query, args...)
	ran.done()
	if s.ranOn(how, err) {
		res, err = s.db.sql.ExecContext(ctx, query, args...)
	}
	return res, s.naming(err)
}

func (s *session) query(ctx context.Context, from caller, query string, args []any) (*sql.Rows, error) {
	on, how, err := s.runnerFor(ctx, query)
	if err != nil {
		return nil, err
	}
	ran := s.tally.statement(s.db, query)
	defer ran.done()
	rows, err := s.watch(ctx, from, kindRows, how).query(on, query, args)
	if err != nil && s.ranOn(how, err) {
		return s.watch(ctx, from, kindRows, beside).query(s.db.sql, query, args)
	}
	return rows, err
}

func (s *session) queryRow(ctx context.Context, from caller, query string, args []any) *sql.Row {
	on, how, err := s.runnerFor(ctx, query)
	if err != nil {
		return s.db.failedRow(ctx, err)
	}
	ran := s.tally.statement(s.db, query)
	defer ran.done()
	row := s.watch(ctx, from, kindRow, how).queryRow(on, query, args)
	if row.Err() != nil && s.ranOn(how, row.Err()) {
		return s.watch(ctx, from, kindRow, beside).queryRow(s.db.sql, query, args)
	}
	return row
}

// watch returns what watches the rows of a query. If it is its turn on the session's connection, they end that.
func (s *session) watch(ctx context.Context, from caller, kind string, how way) *opening {
	var turn *turn
	if how == onHold {
		turn = &s.turn
	}
	return &s.newOpenContext(ctx, from, kind, turn).opening
}

// naming adds the session's end to the error of something that it has cancelled.
func (s *session) naming(err error) error {
	if err == nil {
		return nil
	}
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

func (s *session) beginTx(ctx context.Context, from caller, opts *sql.TxOptions) (*sql.Tx, error) {
	s.yield() // it would be one connection more
	o := s.newOpenContext(ctx, from, kindTransaction, nil)
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
