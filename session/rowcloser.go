package session

import (
	"database/sql"
	"reflect"
)

// rowCloser closes the rows of a row that may never be scanned. database/sql has no way to do that but the end of the query's
// context. If there are no such rows in a *sql.Row, as there may be in another Go, rowsContext is not used for it
// (canCloseRow).
type rowCloser struct{ row *sql.Row }

func (r rowCloser) Close() error {
	return (*sql.Rows)(reflect.ValueOf(r.row).Elem().FieldByIndex(rowsField.Index).UnsafePointer()).Close()
}

var rowsField, canCloseRow = func() (reflect.StructField, bool) {
	f, ok := reflect.TypeFor[sql.Row]().FieldByName("rows")
	return f, ok && f.Type == reflect.TypeFor[*sql.Rows]()
}()
