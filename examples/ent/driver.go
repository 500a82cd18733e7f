package ent

import (
	"context"
	"database/sql"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/pgsafe/pgsafe/examples/nest"
	"github.com/pgsafe/pgsafe/session"
)

var _ entsql.ExecQuerier = (*session.DB)(nil)

// driver is what a client of ent runs on. ent's own wants a *sql.DB for transactions
// (Driver.BeginTx).
//
// Settings come from session.WithSettings. ent's own, entsql.WithVar, need its own driver
// (Conn.maySetVars).
type driver struct {
	entsql.Conn
	db *session.DB
}

var _ dialect.Driver = (*driver)(nil)

// Driver returns a driver of ent over db.
func Driver(db *session.DB) dialect.Driver {
	return &driver{entsql.Conn{ExecQuerier: db}, db}
}

// Dialect is PostgreSQL.
func (*driver) Dialect() string { return dialect.Postgres }

// Tx begins a transaction with the server's defaults. ent has one for each update too
// (sqlgraph.UpdateNode).
func (d *driver) Tx(ctx context.Context) (dialect.Tx, error) { return d.BeginTx(ctx, nil) }

// BeginTx is what (*Client).BeginTx looks for.
func (d *driver) BeginTx(ctx context.Context, opts *sql.TxOptions) (dialect.Tx, error) {
	tx, err := nest.Begin(ctx, d.db, opts)
	if err != nil {
		return nil, err
	}
	return &entsql.Tx{Conn: entsql.Conn{ExecQuerier: tx}, Tx: tx}, nil
}

// Close leaves the *sql.DB to the application.
func (*driver) Close() error { return nil }
