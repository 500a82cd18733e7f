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
	query string
}

// ender is what may have ended a context (context.Cause): a session of package session, which wants to know what was left
// open in it.
type ender interface {
	// CutOff is called for the rows of a query with that context which were open until it ended.
	CutOff(ctx context.Context, query string)
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
func (l *Conn) queried(ctx context.Context, query string, rows driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, l.ended(ctx, err)
	}
	r := &l.rows
	if r.ctx != nil {
		r = new(Rows)
	}
	r.stdRows, r.lease, r.ctx, r.query = rows.(*stdRows), l, ctx, query
	return r, nil
}

// Next reads the next row into dest. It returns io.EOF after the last one.
func (r *Rows) Next(dest []driver.Value) error { return r.ended(r.stdRows.Next(dest)) }

// Close ends the reading. It returns the error of the query, if that failed.
func (r *Rows) Close() error {
	err := r.ended(r.stdRows.Close())
	if r.ctx != nil && r.ctx.Err() != nil {
		if by, ok := context.Cause(r.ctx).(ender); ok {
			by.CutOff(r.ctx, r.query)
		}
	}
	r.ctx, r.query = nil, ""
	return err
}

// ended gives an error of the rows its identity. Rows that are closed say again what pgx says.
func (r *Rows) ended(err error) error {
	if err == nil || err == io.EOF || r.ctx == nil {
		return err
	}
	return r.lease.ended(r.ctx, err)
}
