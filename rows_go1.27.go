//go:build go1.27

package pgsafe

import "database/sql/driver"

var _ driver.RowsColumnScanner = (*Rows)(nil)

// NextRow goes on to the next row, for database/sql to scan column by column. It returns io.EOF after the last one.
func (r *Rows) NextRow() error { return r.read(r.stdRows.NextRow()) }
