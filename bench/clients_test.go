package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe"
)

const (
	insert  = "insert into written values ($1, $2)"
	getRows = "select i, 'row ' || i from generate_series(1, $1::int8) i"
)

// createWritten makes the table that insert writes to.
const createWritten = "create table written (a int8, b int8)"

// client is an application's way to a database.
type client interface {
	query(ctx context.Context) error
	exec(ctx context.Context) error
	tx(ctx context.Context) error // BEGIN, three statements, COMMIT
	rows(ctx context.Context, n int) error
}

type sqlClient struct{ *sql.DB }

func (c sqlClient) query(ctx context.Context) error { return oneQuery(ctx, c.DB) }

func (c sqlClient) exec(ctx context.Context) error {
	_, err := c.ExecContext(ctx, insert, 1, 2)
	return err
}

func (c sqlClient) tx(ctx context.Context) error {
	return inSQLTx(ctx, c.DB, three)
}

func (c sqlClient) rows(ctx context.Context, n int) error {
	rows, err := c.QueryContext(ctx, getRows, n)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	return scanAll(rows, n)
}

type nativeClient struct{ *pgxpool.Pool }

func (c nativeClient) query(ctx context.Context) error {
	var n int64
	return c.QueryRow(ctx, query, 42).Scan(&n)
}

func (c nativeClient) exec(ctx context.Context) error {
	_, err := c.Exec(ctx, insert, 1, 2)
	return err
}

func (c nativeClient) tx(ctx context.Context) error {
	return pgx.BeginFunc(ctx, c.Pool, func(tx pgx.Tx) error {
		var n int64
		if err := tx.QueryRow(ctx, query, 42).Scan(&n); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insert, 1, 2); err != nil {
			return err
		}
		return tx.QueryRow(ctx, query, 42).Scan(&n)
	})
}

func (c nativeClient) rows(ctx context.Context, n int) error {
	rows, err := c.Query(ctx, getRows, n)
	if err != nil {
		return err
	}
	defer rows.Close()
	return scanAll(rows, n)
}

// scanAll reads rows to their end, whichever package they are from.
func scanAll(rows interface {
	Next() bool
	Scan(into ...any) error
	Err() error
}, n int) error {
	read := 0
	for rows.Next() {
		var i int64
		var text string
		if err := rows.Scan(&i, &text); err != nil {
			return err
		}
		read++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if read != n {
		return fmt.Errorf("%d rows instead of %d", read, n)
	}
	return nil
}

// Labels of drivers and pools, as they are in benchmarks' names and in the table.
const (
	labelPgx        = "pgx"                // sql.Open("pgx"), the cap of *sql.DB, kept idle
	labelAgain      = "pgx-again"          // the same once more: how far apart two equal ways come
	labelOverPool   = "pgx-OpenDBFromPool" // stdlib.OpenDBFromPool
	labelNative     = "pgxpool"            // without database/sql: the floor
	labelSQLOpen    = "pgsafe-sql.Open"    // with pool_max_conns
	labelPgsafeOpen = "pgsafe.Open"
)

// capped are the ways to a database/sql pool with a cap, pgx first.
var capped = []struct {
	label string
	open  func(tb testing.TB, uri string, conns int) *sql.DB
}{
	{labelPgx, openPgx},
	{labelSQLOpen, func(tb testing.TB, uri string, conns int) *sql.DB {
		return open(tb, pgsafe.DriverName, withCap(uri, conns))
	}},
	{labelPgsafeOpen, openPgsafeCapped},
}

func openPgx(tb testing.TB, uri string, conns int) *sql.DB {
	db := open(tb, "pgx", uri)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db
}

func openPgsafeCapped(tb testing.TB, uri string, conns int) *sql.DB {
	tb.Helper()
	db, err := pgsafe.Open(uri, pgsafe.WithProfile(pgsafe.Profile{MaxConns: int32(conns)}))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// withCap adds a cap to a connection string that has parameters already.
func withCap(uri string, conns int) string { return fmt.Sprintf("%s&pool_max_conns=%d", uri, conns) }

func openPool(tb testing.TB, uri string, conns int) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), withCap(uri, conns))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

func openOverPool(tb testing.TB, uri string, conns int) *sql.DB {
	db := stdlib.OpenDBFromPool(openPool(tb, uri, conns))
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// namedClient is a client with its label.
type namedClient struct {
	label string
	client
}

// allClients opens a pool of every kind.
func allClients(tb testing.TB, uri string, conns int) []namedClient {
	tb.Helper()
	return []namedClient{
		{labelPgx, sqlClient{openPgx(tb, uri, conns)}},
		{labelAgain, sqlClient{openPgx(tb, uri, conns)}},
		{labelOverPool, sqlClient{openOverPool(tb, uri, conns)}},
		{labelNative, nativeClient{openPool(tb, uri, conns)}},
		{labelSQLOpen, sqlClient{open(tb, pgsafe.DriverName, withCap(uri, conns))}},
		{labelPgsafeOpen, sqlClient{openPgsafeCapped(tb, uri, conns)}},
	}
}
