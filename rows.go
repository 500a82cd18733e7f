package pgsafe

import (
	"context"
	"database/sql/driver"
	"io"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/ctxrows"
)

// stdRows is an alias so that embedding it in Rows makes no exported field.
type stdRows = stdlib.Rows

// Rows are what a query returns: pgx's own *stdlib.Rows, with all optional driver interfaces, whose errors have the
// identity that those of other statements have. Their own method is Next, and NextRow where Go has it.
type Rows struct {
	*stdRows

	lease *Conn
	ctx   context.Context // the query's; nil once they are closed
	watch ctxrows.Watcher // nil if nobody watches them
	atEnd bool            // all were read
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
func (l *Conn) queried(ctx context.Context, rows driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, l.ended(ctx, err)
	}
	return l.lendRows(ctx, rows), nil
}

func (l *Conn) lendRows(ctx context.Context, rows driver.Rows) *Rows {
	r := &l.rows
	if r.ctx != nil {
		r = new(Rows)
	}
	r.stdRows, r.lease, r.ctx, r.atEnd = rows.(*stdRows), l, ctx, false
	return r
}

// queryWatched is QueryContext for a context that watches the rows.
func (l *Conn) queryWatched(watch ctxrows.Watcher, query string, args []driver.NamedValue) (driver.Rows, error) {
	ctx := watch.Query()
	if err := l.useFor(ctx, l.connector.residueOf(query)); err != nil {
		return nil, err
	}
	run := ctx
	if h := l.phys.guard; h != nil { // nil if the application has its own way of cancelling, or none is to be sent: pgx does it
		if err := watch.Running(h); err != nil {
			return nil, err
		}
		run = ctxrows.Unwatched{Context: ctx}
	}
	rows, err := l.stdConn.QueryContext(run, query, l.connector.commented(run, args))
	if err != nil {
		watch.Over()
		return nil, l.ended(ctx, err)
	}
	r := l.lendRows(ctx, rows)
	r.watch = watch
	watch.Opened()
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
		watch.Over()
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
