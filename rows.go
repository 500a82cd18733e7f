package pgsafe

import (
	"context"
	"database/sql/driver"
	"io"

	"github.com/jackc/pgx/v5/stdlib"
)

// stdRows is an alias so that embedding it in Rows makes no exported field.
type stdRows = stdlib.Rows

// Rows are what a query returns: pgx's own *stdlib.Rows, with all optional driver interfaces, whose errors have the
// identity that those of other statements have. Their own method is Next, and NextRow where Go has it.
type Rows struct {
	*stdRows

	lease *Conn
	ctx   context.Context // the query's; nil once they are closed
	watch watcher         // nil if nobody watches them
	atEnd bool            // all were read
}

// watcher is a context for one query that wants to know of its rows: a session's (package session). Once they are open it closes
// them itself when it ends, and its Done is nil: so database/sql has no goroutine of its own wait for that
// (Rows.initContextClose), nor a context, which together cost more than all else that it does for a query.
type watcher interface {
	context.Context

	// Query is the context to run the query with. It ends when this one does, and its Done stays.
	Query() context.Context

	// Opened is called when the query has rows.
	Opened()

	// Ended is why they are closed early, nil if they are not.
	Ended() error

	// Closed is called when they are closed.
	Closed()
}

// watched returns what a query runs with, and who watches its rows, nil if nobody does.
func watched(ctx context.Context) (context.Context, watcher) {
	if w, ok := ctx.(watcher); ok {
		return w.Query(), w
	}
	return ctx, nil
}

var (
	_ driver.Rows                           = (*Rows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*Rows)(nil)
	_ driver.RowsColumnTypeLength           = (*Rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*Rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*Rows)(nil)
)

// queried gives what pgx's stdlib answered to a query to the lease's user. The Rows are part of the lease, since one set
// of rows is open at a time, and are lent again once they are closed: database/sql calls nothing on them after that
// (sql.Rows.close sets closed under closemu, which every other method looks at first). Only rows that the server has
// ended already leave the connection free for another query while they are open still, within a transaction: pgx reads
// the first row, or that there is none, ahead (stdlib.Conn.QueryContext). The other query then gets Rows of its own.
func (l *Conn) queried(ctx context.Context, watch watcher, rows driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, l.ended(ctx, err)
	}
	r := &l.rows
	if r.ctx != nil {
		r = new(Rows)
	}
	r.stdRows, r.lease, r.ctx, r.watch, r.atEnd = rows.(*stdRows), l, ctx, watch, false
	if watch != nil {
		watch.Opened()
	}
	return r, nil
}

// Next reads the next row into dest. It returns io.EOF after the last one.
func (r *Rows) Next(dest []driver.Value) error { return r.read(r.stdRows.Next(dest)) }

// read gives what reading a row has returned its identity.
func (r *Rows) read(err error) error {
	r.atEnd = err == io.EOF
	return r.ended(err)
}

// Close ends the reading. It returns the error of the query, if that failed.
func (r *Rows) Close() error {
	err := r.ended(r.stdRows.Close())
	watch := r.watch
	if watch != nil && err == nil && !r.atEnd {
		err = watch.Ended() // what their reader finds in sql.Rows.Err: they would seem to be at their end otherwise
	}
	r.ctx, r.watch = nil, nil
	if watch != nil {
		watch.Closed()
	}
	return err
}

// ended gives an error of the rows its identity. Rows that are closed say again what pgx says.
func (r *Rows) ended(err error) error {
	if err == nil || err == io.EOF || r.ctx == nil {
		return err
	}
	if r.watch != nil {
		if by := r.watch.Ended(); by != nil {
			return by
		}
	}
	return r.lease.ended(r.ctx, err)
}
