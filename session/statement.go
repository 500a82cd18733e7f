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

func (s *session) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	on, how, err := s.runnerFor(ctx, query)
	if err != nil {
		return nil, err
	}
	ran := s.tally.statement(s.db, query)
	defer ran.done()
	if ending := s.unwatched(ctx, how, query); ending != nil {
		rows, err := s.db.sql.QueryContext(ending, query, args...)
		return rows, s.naming(err)
	}
	rows, err := s.watchRows(ctx, kindRows, how).query(on, query, args)
	if err != nil && s.ranOn(how, err) {
		return s.watchRows(ctx, kindRows, beside).query(s.db.sql, query, args)
	}
	return rows, err
}

func (s *session) queryRow(ctx context.Context, query string, args []any) *sql.Row {
	on, how, err := s.runnerFor(ctx, query)
	if err != nil {
		return s.db.failedRow(ctx, err)
	}
	ran := s.tally.statement(s.db, query)
	defer ran.done()
	if ending := s.unwatched(ctx, how, query); ending != nil {
		return s.namingRow(ctx, s.db.sql.QueryRowContext(ending, query, args...))
	}
	row := s.watchRows(ctx, kindRow, how).queryRow(on, query, args)
	if row.Err() != nil && s.ranOn(how, row.Err()) {
		return s.watchRows(ctx, kindRow, beside).queryRow(s.db.sql, query, args)
	}
	return row
}

// watchRows returns the context for a query. If it is its turn on the session's connection, its rows end that.
func (s *session) watchRows(ctx context.Context, kind string, how way) *openContext {
	o := s.newOpenContext(ctx, kind)
	if how == onHold {
		o.turn = &s.turn
	}
	return o
}

// unwatched returns a context for a query whose rows database/sql can be left to close when the session ends, nil if they
// have to be watched. They are not under load, when it matters what a statement costs, but for one session in many and for
// suspects, to tell what is left open then; and if ctx surely ends with the session: one with an end of its own may have been
// cut off from it before (context.WithoutCancel).
func (s *session) unwatched(ctx context.Context, how way, query string) context.Context {
	switch {
	case how != inLine || s.watched || !s.owns(ctx) || s.db.suspects.has(query):
		return nil
	case ctx == context.Context(&s.ctx):
		return s.ctx.Context // database/sql and the driver look for nothing in ours, and each look takes its time
	}
	return ctx
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
	o.from = here()
	if o.turn != nil {
		o.turn.rows.Store(o)
	}
	if err := o.session.remember(o); err != nil {
		return err
	}
	if o.session.owns(o.Context) {
		o.session.follow(o)
	} else {
		o.follow()
	}
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
	if err == nil {
		return nil
	}
	if ended := s.end(); ended != nil && errors.Is(err, context.Canceled) && !errors.Is(err, ErrEnded) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// namingRow is naming for the error of a row.
func (s *session) namingRow(ctx context.Context, row *sql.Row) *sql.Row {
	err := row.Err()
	if told := s.naming(err); told != err { //nolint:errorlint // whether there is more to tell
		return s.db.failedRow(ctx, told)
	}
	return row
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
