//go:build go1.27

package session_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

type point struct{ X, Y int }

// row is what Go scans by column. Without RowsColumnScanner Go refuses the slices and structs.
type row struct {
	texts  []string
	ints   []int32
	json   point
	span   pgtype.Range[pgtype.Int4]
	addr   netip.Addr
	bytes  pgtype.PreallocBytes
	null   *[]string
	number int
	text   sql.NullString
}

func (r *row) scan(tb testing.TB, rows *sql.Rows) string {
	tb.Helper()
	r.bytes = make([]byte, 0, 8)
	check.OK(tb, rows.Scan(&r.texts, &r.ints, &r.json, &r.span, &r.addr, &r.bytes, &r.null, &r.number, &r.text))
	return fmt.Sprint(r.texts, r.ints, r.json, r.span, r.addr, r.bytes, r.null == nil, r.number, r.text)
}

const scanned = "SELECT ARRAY[g::text, 'b c'], ARRAY[g, 2], jsonb_build_object('X', g, 'Y', 2), int4range(1, g + 1), " +
	"('10.0.0.' || g)::inet, decode(lpad(g::text, 4, '0'), 'hex'), NULL::text[], g, NULL::text FROM generate_series(1, 200) g"

func TestScanColumn(t *testing.T) {
	db := open(t)
	read := func(tb testing.TB, ctx context.Context, each func(i int)) (all []string) {
		rows := query(tb, ctx, db, scanned)
		defer rows.Close()
		for i := 0; rows.Next(); i++ {
			each(i)
			var r row
			all = append(all, r.scan(tb, rows))
		}
		check.OK(tb, rows.Err())
		check.Equal(tb, len(all), 200)
		return all
	}
	outside := fmt.Sprint(read(t, t.Context(), func(int) {}))
	t.Run("a column is scanned in a transaction as outside of it", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			check.Equal(t, fmt.Sprint(read(t, ctx, func(int) {})), outside)
		})
	})
	t.Run("a column is scanned from memory as from the network", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			check.Equal(t, fmt.Sprint(read(t, ctx, func(i int) {
				if i == 3 {
					exec(t, ctx, db, "SELECT repeat('overwritten', 1000)")
				}
			})), outside)
		})
	})
	t.Run("native code may scan rows that were read into memory", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			rows := query(t, ctx, db, scanned)
			defer rows.Close()
			c := conn(t, ctx, db)
			defer c.Close()
			check.OK(t, pgsafe.Raw(c, func(*pgx.Conn) error {
				check.Equal(t, rows.Next(), true)
				var r row
				r.scan(t, rows)
				return nil
			}))
		})
	})
	t.Run("a type that the application has registered is scanned from memory", func(t *testing.T) {
		uri := pgtest.Shared(t).Database(t)
		exec(t, t.Context(), openAt(t, uri), "CREATE TYPE mood AS ENUM ('sad', 'happy')")
		db := openAt(t, uri, pgsafe.WithAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
			all, err := c.LoadTypes(ctx, []string{"mood", "_mood"})
			c.TypeMap().RegisterTypes(all)
			return err
		}))
		tx(t, t.Context(), db, func(ctx context.Context) {
			rows := query(t, ctx, db, "SELECT ARRAY['sad', 'happy']::mood[] FROM generate_series(1, 2)")
			defer rows.Close()
			for range 2 {
				check.Equal(t, rows.Next(), true)
				exec(t, ctx, db, "SELECT")
				var moods []string
				check.OK(t, rows.Scan(&moods))
				check.Equal(t, fmt.Sprint(moods), "[sad happy]")
			}
		})
	})
}
