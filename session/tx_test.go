package session_test

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestTxEnds(t *testing.T) {
	db := open(t)
	t.Run("a function that returns nil commits", func(t *testing.T) {
		check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error { enter(t, ctx, db, "nil"); return nil }))
	})
	t.Run("a function that returns an error rolls back, and Tx returns that error", func(t *testing.T) {
		isError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error { enter(t, ctx, db, "error"); return errApp }), errApp)
	})
	t.Run("a panic rolls back and goes on", func(t *testing.T) {
		defer func() { check.Equal(t, recover(), any("panic")) }()
		_ = session.Tx(t.Context(), db, nil, func(ctx context.Context) error { enter(t, ctx, db, "panic"); panic("panic") })
	})
	t.Run("runtime.Goexit rolls back", func(t *testing.T) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = session.Tx(t.Context(), db, nil, func(ctx context.Context) error { enter(t, ctx, db, "Goexit"); runtime.Goexit(); return nil })
		}()
		<-done
	})
	t.Run("a context that ends rolls back while the function still runs", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := session.Tx(ctx, db, nil, func(ctx context.Context) error {
			enter(t, ctx, db, "canceled")
			cancel()
			allBackButOne(t, db)
			return nil
		})
		isError(t, err, context.Canceled)
	})
	t.Run("only what was committed stays, and no connection is in use", func(t *testing.T) {
		check.Equal(t, entries(t, db), "nil")
		allBack(t, db)
	})
}

// allBackButOne waits until no transaction is open on the server.
func allBackButOne(t *testing.T, db *sql.DB) {
	t.Helper()
	for one[int](t, context.Background(), db,
		"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'") > 0 {
		runtime.Gosched()
	}
}

func TestTxReach(t *testing.T) {
	db := open(t)
	ways := map[string]func(t *testing.T, ctx context.Context, entry string){
		"ExecContext": func(t *testing.T, ctx context.Context, entry string) { enter(t, ctx, db, entry) },
		"QueryContext": func(t *testing.T, ctx context.Context, entry string) {
			rows, err := db.QueryContext(ctx, "INSERT INTO ledger VALUES ($1) RETURNING entry", entry)
			check.OK(t, err)
			check.OK(t, rows.Close())
		},
		"QueryRowContext": func(t *testing.T, ctx context.Context, entry string) {
			check.Equal(t, one[string](t, ctx, db, "INSERT INTO ledger VALUES ($1) RETURNING entry", entry), entry)
		},
		"a statement prepared inside": func(t *testing.T, ctx context.Context, entry string) {
			stmt, err := db.PrepareContext(ctx, "INSERT INTO ledger VALUES ($1) -- inside")
			check.OK(t, err)
			defer stmt.Close()
			_, err = stmt.ExecContext(ctx, entry)
			check.OK(t, err)
		},
		"a *sql.Conn": func(t *testing.T, ctx context.Context, entry string) {
			conn, err := db.Conn(ctx)
			check.OK(t, err)
			defer conn.Close()
			enter(t, context.WithoutCancel(t.Context()), conn, entry) // it belongs where it was taken
		},
		"a *sql.Tx": func(t *testing.T, ctx context.Context, entry string) {
			tx, err := db.BeginTx(ctx, nil)
			check.OK(t, err)
			enter(t, ctx, tx, entry)
			check.OK(t, tx.Commit())
		},
		"COPY in Raw": func(t *testing.T, ctx context.Context, entry string) {
			conn, err := db.Conn(ctx)
			check.OK(t, err)
			defer conn.Close()
			check.OK(t, pgsafe.Raw(conn, func(pc *pgx.Conn) error {
				_, err := pc.CopyFrom(ctx, pgx.Identifier{"ledger"}, []string{"entry"}, pgx.CopyFromRows([][]any{{entry}}))
				return err
			}))
			enter(t, ctx, db, entry+"after") // the turn has ended with f
		},
	}
	before, err := db.Prepare("INSERT INTO ledger VALUES ($1) -- before")
	check.OK(t, err)
	defer before.Close()
	ways["a statement prepared before"] = func(t *testing.T, ctx context.Context, entry string) {
		_, err := before.ExecContext(ctx, entry)
		check.OK(t, err)
	}
	for name, write := range ways {
		t.Run(name+" writes in the transaction of its context", func(t *testing.T) {
			entry := strings.ReplaceAll(name, " ", "_")
			isError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
				write(t, ctx, entry)
				check.Equal(t, one[bool](t, ctx, db, "SELECT exists(SELECT FROM ledger WHERE entry = $1)", entry), true)
				return errApp
			}), errApp)
			check.Equal(t, entries(t, db), "")
		})
	}
	allBack(t, db)
}

func TestTxNested(t *testing.T) {
	t.Run("a nested transaction that fails is undone alone", func(t *testing.T) {
		db := open(t)
		check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			enter(t, ctx, db, "1")
			isError(t, session.Tx(ctx, db, nil, func(ctx context.Context) error {
				enter(t, ctx, db, "2")
				return session.Tx(ctx, db, nil, func(ctx context.Context) error { enter(t, ctx, db, "3"); return errApp })
			}), errApp)
			isError(t, session.Tx(ctx, db, nil, func(ctx context.Context) error {
				enter(t, ctx, db, "4")
				_, err := db.ExecContext(ctx, "SELECT 1/0")
				check.Equal(t, err != nil, true)
				return nil
			}), session.ErrRolledBack)
			enter(t, ctx, db, "5")
			return nil
		}))
		check.Equal(t, entries(t, db), "1 5")
	})
}

func TestTxShares(t *testing.T) {
	t.Run("statements of sixteen goroutines run in one transaction, one after another", func(t *testing.T) {
		db := open(t)
		check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					for j := range 10 {
						enter(t, ctx, db, fmt.Sprintf("%02d-%d", i, j))
					}
				})
			}
			wg.Wait()
			return nil
		}))
		check.Equal(t, len(strings.Fields(entries(t, db))), 160)
	})
	t.Run("rows that are half read stay readable while other statements run", func(t *testing.T) {
		db := open(t)
		check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			rows, err := db.QueryContext(ctx, "SELECT g, repeat('x', 1000) FROM generate_series(1, 1000) g")
			check.OK(t, err)
			sum := 0
			for rows.Next() {
				var g int
				var pad string
				check.OK(t, rows.Scan(&g, &pad))
				sum += g + one[int](t, ctx, db, "SELECT $1::int", g)
				types, err := rows.ColumnTypes()
				check.OK(t, err)
				check.Equal(t, types[0].DatabaseTypeName(), "INT4")
			}
			check.OK(t, rows.Err())
			check.Equal(t, sum, 2*500500)
			return nil
		}))
	})
}
