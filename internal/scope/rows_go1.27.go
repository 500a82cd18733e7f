//go:build go1.27

package scope

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

var _ driver.RowsColumnScanner = (*rows)(nil)

// scanner is what rows need to be scanned by column.
type scanner struct {
	current []driver.Value
}

// NextRow advances to the next row, which database/sql then scans column by column. It returns io.EOF
// after the last one. The row is kept, since another statement may take the place of the rows on the
// network before it is scanned.
func (r *rows) NextRow() error {
	if r.current == nil {
		r.current = make([]driver.Value, len(r.names))
	}
	return r.Next(r.current)
}

// ScanColumn copies a column of the current row. As with pgx's own rows, destinations that
// database/sql does not know, such as slices, are scanned by pgx (stdlib, Rows.ScanColumn).
func (r *rows) ScanColumn(scan driver.ScanContext, i int, dest any) error {
	v := reflect.ValueOf(dest)
	switch {
	case dest == nil:
		return errors.New("destination not a pointer")
	case v.Kind() == reflect.Pointer && v.IsNil():
		return errors.New("destination pointer is nil")
	case isForSQL(v.Type()):
		return sql.ConvertAssign(scan, dest, r.current[i])
	}
	return r.conn.types.scan(r.conn, r.column(i).typeName, r.current[i], dest)
}

// isForSQL reports whether pgx lets database/sql convert to a destination of this type (stdlib,
// isSQLScanDestination).
func isForSQL(t reflect.Type) bool {
	for {
		switch {
		case t.Implements(reflect.TypeFor[sql.Scanner]()):
			return true
		case t.Implements(reflect.TypeFor[pgtype.ArraySetter]()), t.Implements(reflect.TypeFor[pgtype.BytesScanner]()):
			return false
		}
		if t.Kind() != reflect.Pointer {
			break
		}
		if t.Name() != "" { // a type such as type p *p has no end
			return false
		}
		t = t.Elem()
	}
	switch kind := t.Kind(); {
	case kind == reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	case kind == reflect.Struct:
		return t.ConvertibleTo(reflect.TypeFor[time.Time]())
	default:
		return kind >= reflect.Bool && kind <= reflect.Float64 && kind != reflect.Uintptr ||
			kind == reflect.String || kind == reflect.Interface
	}
}

// types are a copy of the types that pgx knows on a connection. The reader of rows needs them while
// other statements use the connection. The zero value is ready to use.
type types struct {
	mu  sync.Mutex // guards the fields below, and the map
	all *pgtype.Map
}

// scan scans a value of a column of the type that is called so.
func (t *types) scan(c *conn, typeName string, value driver.Value, dest any) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = c.copyTypes()
	}
	oid := oidOf(t.all, typeName)
	switch v := value.(type) {
	case nil:
		return t.all.Scan(oid, pgtype.TextFormatCode, nil, dest)
	case string:
		return t.all.Scan(oid, pgtype.TextFormatCode, []byte(v), dest)
	case []byte:
		if oid != pgtype.ByteaOID { // JSON and XML
			return t.all.Scan(oid, pgtype.TextFormatCode, v, dest)
		}
	}
	binary, err := t.all.Encode(oid, pgtype.BinaryFormatCode, value, nil)
	if err != nil {
		return err
	}
	return t.all.Scan(oid, pgtype.BinaryFormatCode, binary, dest)
}

// copyTypes copies the types of the connection. While native code has the connection, and after its
// use, they are pgx's own.
func (c *conn) copyTypes() *pgtype.Map {
	if c.native.Load() {
		return pgtype.NewMap()
	}
	c.wire.Lock()
	defer c.wire.Unlock()
	if c.lostNow() != nil {
		return pgtype.NewMap()
	}
	return c.server.Pgx().TypeMap().Copy()
}

// oidOf finds a type by what pgx calls it: its name in capitals, or its number if it has no name
// (stdlib, Rows.ColumnTypeDatabaseTypeName). Zero is unknown.
func oidOf(m *pgtype.Map, name string) uint32 {
	if t, known := m.TypeForName(strings.ToLower(name)); known {
		return t.OID
	}
	n, _ := strconv.ParseUint(name, 10, 32)
	return uint32(n)
}
