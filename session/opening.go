package session

import (
	"cmp"
	"context"
	"database/sql"
	"sync/atomic"
)

// opening is a call to database/sql that may leave something open: rows, or a transaction.
type opening struct {
	watcher watcher // the context of the call, whose opening it is
	kind    string
	from    caller
	session *session
	turn    *turn       // that ends when the rows are closed, nil if they have a connection of their own
	owned   bool        // it ends when the session's context does, and not before
	open    atomic.Bool // there is something to be closed
}

// The kinds of things that are left open.
const (
	kindRows        = "rows"
	kindRow         = "row"
	kindTransaction = "transaction"
)

// watcher is a context that knows when what was opened with it is closed, and can end that: an openContext.
type watcher interface {
	context.Context

	// opened is called when rows or a transaction were returned. It reports false if they are closed already, or about
	// to be, because the context has ended.
	opened() bool

	// end has what is open closed, because of err.
	end(err error)

	// follow ends it when the caller's context ends, which is not the session's.
	follow()

	// unfollow ends that.
	unfollow()
}

// begin starts watching.
func (o *opening) begin() error {
	if o.turn != nil {
		o.turn.rows.Store(o)
	}
	if err := o.session.remember(o); err != nil {
		return err
	}
	if o.owned {
		o.session.follow(o)
	} else {
		o.watcher.follow()
	}
	return nil
}

// query runs a query whose rows are watched. If it returns rows, closed is called when they are closed; if it returns
// an error it is not.
func (o *opening) query(on runner, query string, args []any) (*sql.Rows, error) {
	if err := o.begin(); err != nil {
		return nil, err
	}
	rows, err := on.QueryContext(o.watcher, query, args...)
	if err != nil {
		return nil, o.failed(err)
	}
	if !o.watcher.opened() {
		_ = rows.Close() // what there is to say is in their Err
		return nil, o.failed(o.closedBefore(rows.Err()))
	}
	return rows, nil
}

// queryRow is query for a single row, whose Err is the error.
func (o *opening) queryRow(on runner, query string, args []any) *sql.Row {
	if err := o.begin(); err != nil {
		return o.session.db.failedRow(o.watcher, err)
	}
	row := on.QueryRowContext(o.watcher, query, args...)
	if err := row.Err(); err != nil {
		if told := o.failed(err); told != err { //nolint:errorlint // whether there is more to tell
			return o.session.db.failedRow(o.watcher, told)
		}
		return row
	}
	if !o.watcher.opened() {
		return o.session.db.failedRow(o.watcher, o.failed(o.closedBefore(row.Scan()))) // Scan closes the rows first
	}
	return row
}

// closedBefore is the error of rows that were closed before anybody could read them: because the context has ended, or
// the transaction. err is theirs, which does not say so if we were the first to close them.
func (o *opening) closedBefore(err error) error {
	return cmp.Or(o.watcher.Err(), err, sql.ErrTxDone)
}

// failed ends the watching, and returns the error.
func (o *opening) failed(err error) error {
	o.watcher.unfollow()
	o.session.forget(o)
	return o.session.naming(err)
}

// closed is called once what was open is closed. Rows still hold their connection then, for a moment: they give it back
// next (Rows.close).
func (o *opening) closed() {
	o.session.forget(o)
	switch o.turn {
	case nil:
		o.session.returns()
	case &o.session.turn:
		o.session.leaveRows()
	default:
		o.turn.done()
	}
}
