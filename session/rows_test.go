package session_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// logged is a Logger's output.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) option() pgsafe.Option {
	return pgsafe.WithLogger(slog.New(slog.NewTextHandler(l, nil)))
}

// shows fails the test unless each part is in the log.
func (l *logged) shows(tb testing.TB, parts ...string) {
	tb.Helper()
	for _, part := range parts {
		if !strings.Contains(l.String(), part) {
			tb.Fatalf("%q is not in the log:\n%s", part, l)
		}
	}
}

// query runs a query whose rows the test closes.
func query(tb testing.TB, ctx context.Context, db runner, text string, args ...any) *sql.Rows {
	tb.Helper()
	rows, err := db.QueryContext(ctx, text, args...)
	check.OK(tb, err)
	return rows
}

// long is a query whose rows do not fit into a socket's buffers. The rows of huge do not fit into memory.
const (
	long = "SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g"
	huge = "SELECT g, repeat('x', 10000) FROM generate_series(1, 2500) g"
)

func TestRowsInTheWay(t *testing.T) {
	db := open(t)
	t.Run("a statement gets ErrBusy while rows are open that are too long for memory, which stay readable", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			rows := query(t, ctx, db, huge)
			defer rows.Close()
			for range 3 {
				_, err := db.ExecContext(ctx, "INSERT INTO ledger VALUES ('busy')")
				isError(t, err, session.ErrBusy)
				check.Equal(t, strings.Contains(err.Error(), "SELECT"), true)
				check.Equal(t, strings.Contains(err.Error(), "10000"), false)
				for range 100 {
					check.Equal(t, rows.Next(), true)
				}
			}
			n := 300
			for rows.Next() {
				n++
				var g int
				var pad []byte
				check.OK(t, rows.Scan(&g, &pad))
				check.Equal(t, g, n)
				check.Equal(t, len(pad), 10000)
			}
			check.OK(t, rows.Err())
			check.Equal(t, n, 2500)
			enter(t, ctx, db, "free")
		})
		check.Equal(t, entries(t, db), "free")
	})
	t.Run("rows that were read in part are given to another goroutine while statements run", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			rows := query(t, ctx, db, long)
			check.Equal(t, rows.Next(), true)
			var wg sync.WaitGroup
			wg.Go(func() {
				n := 1
				for rows.Next() {
					n++
					var g int
					var pad string
					check.OK(t, rows.Scan(&g, &pad))
					check.Equal(t, g, n)
				}
				check.OK(t, rows.Err())
				check.Equal(t, n, 5000)
			})
			for i := range 200 {
				check.Equal(t, one[int](t, ctx, db, "SELECT $1::int", i), i)
			}
			wg.Wait()
		})
	})
	t.Run("several rows are open at once, and each is complete", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			var all []*sql.Rows
			for range 4 {
				all = append(all, query(t, ctx, db, long))
			}
			for i := range 5000 {
				for _, rows := range all {
					check.Equal(t, rows.Next(), true)
					var g int
					check.OK(t, rows.Scan(&g, new(sql.RawBytes)))
					check.Equal(t, g, i+1)
				}
			}
			for _, rows := range all {
				check.Equal(t, rows.Next(), false)
				check.OK(t, rows.Err())
			}
		})
	})
	t.Run("a QueryRow that is never scanned is not in the way of statements, nor of COMMIT", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			for range 10 {
				_ = db.QueryRowContext(ctx, long)
			}
			enter(t, ctx, db, "after")
			_ = db.QueryRowContext(ctx, huge)
		})
		allBack(t, db)
	})
	t.Run("an error in the midst of rows is found by their reader, and aborts the transaction", func(t *testing.T) {
		for _, another := range []bool{false, true} {
			err := session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
				rows := query(t, ctx, db, "SELECT 1/(3000 - g), repeat('x', 1000) FROM generate_series(1, 5000) g")
				check.Equal(t, rows.Next(), true)
				if another {
					_, err := db.ExecContext(ctx, "SELECT 1")
					check.Equal(t, strings.Contains(fmt.Sprint(err), "25P02"), true)
				}
				for rows.Next() {
				}
				check.Equal(t, strings.Contains(fmt.Sprint(rows.Err()), "22012"), true)
				return nil
			})
			isError(t, err, session.ErrRolledBack)
			check.Equal(t, strings.Contains(err.Error(), "22012"), true)
		}
	})
	t.Run("a value that pgx cannot convert is the error of its rows alone", func(t *testing.T) {
		for _, another := range []bool{false, true} {
			tx(t, t.Context(), db, func(ctx context.Context) {
				exec(t, ctx, db, "SET LOCAL datestyle = 'German'") // pgx reads no such time
				rows := query(t, ctx, db, "SELECT CASE g WHEN 5 THEN now() END, repeat('x', 1000) FROM generate_series(1, 5000) g",
					pgx.QueryExecModeSimpleProtocol)
				check.Equal(t, rows.Next(), true)
				if another {
					enter(t, ctx, db, "meanwhile")
				}
				for rows.Next() {
					check.OK(t, rows.Scan(new(any), new(any)))
				}
				check.Equal(t, rows.Err() != nil, true)
				enter(t, ctx, db, "after")
			})
		}
	})
	t.Run("values that are read into memory are their rows' own", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			const text = "SELECT decode(lpad(g::text, 8, '0'), 'hex'), json_build_object('g', g)::text, json_build_object('g', g), " +
				"jsonb_build_object('g', g), g::text, ('<g>' || g || '</g>')::xml, ARRAY[g::text] FROM generate_series(1, 2000) g"
			streamed, kept := query(t, ctx, db, text), []string{}
			for streamed.Next() {
				var row [7][]byte
				check.OK(t, streamed.Scan(&row[0], &row[1], &row[2], &row[3], &row[4], &row[5], &row[6]))
				kept = append(kept, fmt.Sprintf("%x %s", row[0], row[1:]))
			}
			check.OK(t, streamed.Err())
			rows := query(t, ctx, db, text)
			defer rows.Close()
			for i, want := range kept {
				check.Equal(t, rows.Next(), true)
				if i%500 == 3 {
					check.Equal(t, one[string](t, ctx, db, "SELECT repeat('overwritten', 100000)")[:4], "over")
				}
				var row [7]sql.RawBytes
				check.OK(t, rows.Scan(&row[0], &row[1], &row[2], &row[3], &row[4], &row[5], &row[6]))
				check.Equal(t, fmt.Sprintf("%x %s", row[0], row[1:]), want)
			}
		})
	})
	t.Run("columns have their types while rows stream, from memory, and not after they are closed", func(t *testing.T) {
		tx(t, t.Context(), db, func(ctx context.Context) {
			rows := query(t, ctx, db, "SELECT g, g::numeric(7,2), g::varchar(9) FROM generate_series(1, 5000) g")
			look := func() {
				types, err := rows.ColumnTypes()
				check.OK(t, err)
				check.Equal(t, types[0].DatabaseTypeName()+types[1].DatabaseTypeName()+types[2].DatabaseTypeName(), "INT4NUMERICVARCHAR")
				check.Equal(t, types[0].ScanType().String(), "int32")
				p, s, ok := types[1].DecimalSize()
				check.Equal(t, fmt.Sprint(p, s, ok), "7 2 true")
				n, ok := types[2].Length()
				check.Equal(t, fmt.Sprint(n, ok), "9 true")
			}
			look()
			check.Equal(t, rows.Next(), true)
			look()
			exec(t, ctx, db, "SELECT 1")
			look()
			for range 4999 {
				check.Equal(t, rows.Next(), true)
			}
			look()
			check.Equal(t, rows.Next(), false)
			_, err := rows.ColumnTypes()
			check.Equal(t, err != nil, true)
		})
	})
	allBack(t, db)
}

func TestRowsLeftOpen(t *testing.T) {
	var log logged
	db := open(t, log.option())
	// ends reads rows of long, or more, after the first one.
	ends := func(t *testing.T, rows *sql.Rows) {
		t.Helper()
		n := 1
		for rows.Next() {
			n++
		}
		if err := rows.Err(); err == nil {
			check.Equal(t, n >= 5000, true) // the reader was faster
		} else if !errors.Is(err, session.ErrEnded) && !errors.Is(err, context.Canceled) {
			t.Fatalf("the error is %v, and should be ErrEnded or context.Canceled", err)
		}
	}
	for name, end := range map[string]error{"committed": nil, "rolled back": errApp} {
		t.Run("rows that are open when their transaction is "+name+" do not look complete, and are logged", func(t *testing.T) {
			var rows *sql.Rows
			err := session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
				rows = query(t, ctx, db, long+" -- "+strings.ReplaceAll(name, " ", ""))
				check.Equal(t, rows.Next(), true)
				return end
			})
			check.Equal(t, err, end)
			ends(t, rows)
			allBack(t, db)
			log.shows(t, "left open", "what=rows", "SELECT generate_series")
		})
	}
	t.Run("rows that were read to their end in memory are complete after the commit or not at all", func(t *testing.T) {
		var rows *sql.Rows
		tx(t, t.Context(), db, func(ctx context.Context) {
			rows = query(t, ctx, db, long)
			check.Equal(t, rows.Next(), true)
			enter(t, ctx, db, "into memory")
		})
		ends(t, rows)
		allBack(t, db)
	})
	for name, state := range map[string]string{"that has no state": "SELECT", "that has state": "SET application_name = 'x'"} {
		t.Run("RawBytes of rows stay valid until the next call when a session "+name+" ends", func(t *testing.T) {
			for range 20 {
				var rows *sql.Rows
				var raw sql.RawBytes
				check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
					exec(t, ctx, db, state)
					rows = query(t, ctx, db, long)
					check.Equal(t, rows.Next(), true)
					check.OK(t, rows.Scan(new(int), &raw))
					return nil
				}))
				check.Equal(t, string(raw), strings.Repeat("x", 1000))
				ends(t, rows)
				_ = rows.Close() // it repeats the error
			}
			allBack(t, db)
		})
		t.Run("RawBytes that are read while a session "+name+" is cancelled stay valid", func(t *testing.T) {
			for range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				err := session.Do(ctx, db, func(ctx context.Context) error {
					exec(t, ctx, db, state)
					rows := query(t, ctx, db, long)
					defer rows.Close()
					for i := 0; rows.Next(); i++ {
						var raw sql.RawBytes
						if err := rows.Scan(new(int), &raw); err != nil {
							return err
						}
						if i == 10 {
							cancel()
						}
						check.Equal(t, bytes.Count(raw, []byte("x")), 1000)
					}
					return rows.Err()
				})
				isError(t, err, context.Canceled)
			}
			allBack(t, db)
		})
		t.Run("rows that are open when a session "+name+" ends are logged and closed", func(t *testing.T) {
			var rows *sql.Rows
			comment := " -- " + strings.ReplaceAll(name, " ", "_")
			check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
				exec(t, ctx, db, state)
				rows = query(t, ctx, db, "SELECT relname, repeat('x', 1000) FROM pg_class, generate_series(1, 100)"+comment)
				check.Equal(t, rows.Next(), true)
				return nil
			}))
			ends(t, rows)
			allBack(t, db)
			log.shows(t, "SELECT pg_class")
		})
	}
}
