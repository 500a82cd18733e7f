package scope

import (
	"cmp"
	"context"
	"database/sql/driver"
	"io"
	"reflect"
	"sync/atomic"

	"github.com/jackc/pgx/v5/stdlib"
)

// maxBuffered bounds the rows that are kept in memory for another statement to run, in bytes.
const maxBuffered = 16 << 20

// rows are the result of a query on a shared connection. They are read off the network as the reader
// asks for them. When another statement needs the connection, the rest is read into memory first, and
// the reader gets it from there.
type rows struct {
	conn  *conn
	std   *stdlib.Rows
	ctx   context.Context // the query's
	text  string
	site  site // of the query, if it is known
	names []string
	done  func() // is called once they are closed, nil for no call

	// detached is set once nothing of the rows is on the network any more. Until then the conn's wire
	// guards the fields below, and from then on they belong to the reader.
	detached atomic.Bool
	err      error // how the rows end
	kept     [][]driver.Value
	next     int  // of kept
	size     int  // of kept, in bytes
	reported bool // as left open
	columns  []column
	//lint:ignore U1000 Go 1.27 uses it
	scanner
}

var (
	_ driver.Rows                           = (*rows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*rows)(nil)
	_ driver.RowsColumnTypeLength           = (*rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*rows)(nil)
)

// Rows shares the rows of a query that has just run on the level, within Run. done is called when the
// reader has closed them; nil means no call.
func (l *Level) Rows(ctx context.Context, text string, std *stdlib.Rows, done func()) driver.Rows {
	r := &rows{
		conn: l.conn, std: std, ctx: ctx, text: text, site: l.conn.home.leaks.site(text), names: std.Columns(),
		done: done,
	}
	l.conn.rows = r
	return r
}

// clearWire makes the connection free for another statement. The caller has the wire.
func (c *conn) clearWire() error {
	r := c.rows
	if r == nil {
		return nil
	}
	r.describe()
	for {
		if r.size > maxBuffered {
			return withCause(ErrBusy, &openRowsError{c.server.Summary(r.text)})
		}
		row := make([]driver.Value, len(r.names))
		if err := r.std.Next(row); err != nil {
			r.detach(err)
			return c.lostNow()
		}
		r.kept = append(r.kept, row)
		r.size += sizeOf(row)
	}
}

// openRowsError says which rows are too long to be kept.
type openRowsError struct{ summary string }

// Error names the query.
func (e *openRowsError) Error() string { return errTooLong.Error() + " (" + e.summary + ")" }

// sizeOf is about how much memory a row takes.
func sizeOf(row []driver.Value) int {
	const header = 16 // of an interface
	n := header * len(row)
	for _, v := range row {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}

// detach is called when the last row was read, with io.EOF or the error. The caller has the wire.
func (r *rows) detach(err error) {
	_ = r.std.Close() // more rows may follow one that pgx could not convert
	if err == io.EOF {
		err = nil
	}
	r.publish(r.settled(err, io.EOF))
}

// settled returns how the rows end: with how, unless their query or their connection has failed.
func (r *rows) settled(err, how error) error {
	if err == nil {
		err = r.conn.settle(nil)
	} else {
		err = r.conn.settle(r.conn.server.Failed(r.ctx, err))
	}
	return cmp.Or(err, how)
}

// publish hands the rows over to their reader. They end with err. The caller has the wire.
func (r *rows) publish(err error) {
	r.err = err
	r.conn.rows = nil
	r.detached.Store(true) // from here on the fields are the reader's
}

// Columns returns the names of the columns.
func (r *rows) Columns() []string { return r.names }

// Next reads the next row into dest. It returns io.EOF after the last one.
func (r *rows) Next(dest []driver.Value) error {
	if r.detached.Load() {
		return r.fromMemory(dest)
	}
	r.conn.wire.Lock()
	defer r.conn.wire.Unlock()
	if r.detached.Load() || r.next < len(r.kept) {
		return r.fromMemory(dest)
	}
	if err := r.std.Next(dest); err != nil {
		r.detach(err)
		return r.err
	}
	return nil
}

func (r *rows) fromMemory(dest []driver.Value) error {
	if r.next == len(r.kept) {
		return r.err
	}
	row := r.kept[r.next]
	copy(dest, row)
	r.kept[r.next] = nil
	r.next++
	r.size -= sizeOf(row)
	if r.next == len(r.kept) {
		r.kept, r.next = nil, 0
	}
	return nil
}

// Close ends the reading. What is left on the network is read and forgotten. It returns the error of
// the query, if that failed.
func (r *rows) Close() error {
	if !r.detached.Load() {
		r.conn.wire.Lock()
		r.closeOnWire(io.EOF)
		r.conn.wire.Unlock()
	}
	if done := r.done; done != nil {
		r.done = nil
		done()
	}
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

// closeOnWire ends rows that may be on the network. They end with how, unless the query failed.
func (r *rows) closeOnWire(how error) {
	if r.detached.Load() {
		return
	}
	r.publish(r.settled(r.std.Close(), how))
}

// closeRows ends the rows on the network, because their transaction ends. The caller has the wire.
func (c *conn) closeRows() {
	if r := c.rows; r != nil {
		c.reportRows()
		r.describe()
		r.closeOnWire(ErrEnded)
	}
}

// reportRows reports the rows on the network, because their transaction ends. The caller has the wire.
func (c *conn) reportRows() {
	if r := c.rows; r != nil && !r.reported {
		r.reported = true
		c.home.leftOpen(c.session, LeftRows, r.text, r.site)
	}
}

// streams reports whether rows are on the network. It reports them as left open, since their context
// is about to end, upon which database/sql closes them.
func (c *conn) streams() bool {
	if !c.wire.TryLock() {
		return true // something is being read
	}
	defer c.wire.Unlock()
	c.reportRows()
	return c.rows != nil && c.server.Busy()
}

// column is what a driver says of a column.
type column struct {
	typeName         string
	length           int64
	hasLength        bool
	precision, scale int64
	hasPrecision     bool
	scanType         reflect.Type
}

// describe keeps the types of the columns, which pgx reads from the last description on the network.
// The caller has the wire.
func (r *rows) describe() {
	if r.columns != nil {
		return
	}
	r.columns = make([]column, len(r.names))
	for i := range r.columns {
		c := &r.columns[i]
		c.typeName = r.std.ColumnTypeDatabaseTypeName(i)
		c.length, c.hasLength = r.std.ColumnTypeLength(i)
		c.precision, c.scale, c.hasPrecision = r.std.ColumnTypePrecisionScale(i)
		c.scanType = r.std.ColumnTypeScanType(i)
	}
}

// column returns what is known of a column.
func (r *rows) column(i int) *column {
	if !r.detached.Load() {
		r.conn.wire.Lock()
		defer r.conn.wire.Unlock()
		r.describe()
	}
	if r.columns == nil { // the reader has closed them
		return &column{scanType: reflect.TypeFor[any]()}
	}
	return &r.columns[i]
}

// ColumnTypeDatabaseTypeName returns PostgreSQL's name of a column's type.
func (r *rows) ColumnTypeDatabaseTypeName(i int) string { return r.column(i).typeName }

// ColumnTypeLength returns the length of a column of a type with a variable length.
func (r *rows) ColumnTypeLength(i int) (int64, bool) {
	c := r.column(i)
	return c.length, c.hasLength
}

// ColumnTypePrecisionScale returns the precision and the scale of a numeric column.
func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	c := r.column(i)
	return c.precision, c.scale, c.hasPrecision
}

// ColumnTypeScanType returns a Go type that holds a column's values.
func (r *rows) ColumnTypeScanType(i int) reflect.Type { return r.column(i).scanType }
