package pgsafe

import (
	"context"
	"database/sql/driver"
	"io"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/scope"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// stdRows is an alias so that embedding it makes no exported field.
type stdRows = stdlib.Rows

// rows are what a query returns: pgx's own *stdlib.Rows, with all optional driver interfaces. Their
// errors have the same identity as the errors of other statements. Their own methods are Next and
// Close, and NextRow where Go has it.
type rows struct {
	*stdRows

	handle *Conn
	server *serverconn.Conn
	ctx    context.Context // the query's; nil once they are closed
}

var (
	_ driver.Rows                           = (*rows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*rows)(nil)
	_ driver.RowsColumnTypeLength           = (*rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*rows)(nil)
)

// lendRows returns the rows of a query. They are part of the handle, since one set of rows is open
// at a time, and are lent again once they are closed: database/sql calls nothing on them after that
// (sql.Rows.close sets closed under closemu, at which every other method looks first). Only rows
// that the server has ended already leave the connection free for another query while they are
// open, within a transaction: pgx reads the first row ahead, or that there is none
// (stdlib.Conn.QueryContext). The other query then gets rows of its own.
func (h *Conn) lendRows(ctx context.Context, std *stdRows) *rows {
	r := &h.rows
	if r.isOpen() {
		r = new(rows)
	}
	r.stdRows, r.handle, r.server, r.ctx = std, h, h.server, ctx
	h.openRows++
	h.place.Opened(scope.LeftRows)
	return r
}

func (r *rows) isOpen() bool { return r.ctx != nil }

// Next reads the next row into dest. It returns io.EOF after the last one.
func (r *rows) Next(dest []driver.Value) error { return r.failed(r.stdRows.Next(dest)) }

// Close ends the reading. It returns the error of the query, if that failed.
func (r *rows) Close() error {
	err := r.failed(r.stdRows.Close())
	if r.isOpen() {
		r.ctx = nil
		r.handle.openRows--
		r.handle.place.Opened(scope.LeftConnection)
		r.handle.settle()
	}
	return err
}

// failed gives an error of the rows its identity. Rows that are closed repeat what pgx says.
func (r *rows) failed(err error) error {
	if err == nil || err == io.EOF || r.ctx == nil {
		return err
	}
	return r.server.Failed(r.ctx, err)
}
