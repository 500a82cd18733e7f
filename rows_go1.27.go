//go:build go1.27

package pgsafe

import "database/sql/driver"

var _ driver.RowsColumnScanner = (*rows)(nil)

// NextRow advances to the next row, which database/sql then scans column by column. It returns io.EOF after the last one.
func (r *rows) NextRow() error { return r.failed(r.stdRows.NextRow()) }
