// Package native keeps orders by code that uses pgx natively: statements by sqlc's pgx/v5 code,
// jobs by river. Both run on one pgxpool of pgsafe.NewPoolConfig, and share its transactions.
package native

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/examples/native/queries"
)

//go:generate go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate

// OpenPool opens a pool for river and sqlc. dsn is the string that the application gives to
// sql.Open.
func OpenPool(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	config, err := pgsafe.NewPoolConfig(dsn)
	if err != nil {
		return nil, err
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// Orders takes orders, and ships them in the background. It is safe for concurrent use.
type Orders struct {
	pool    *pgxpool.Pool
	queries *queries.Queries
	jobs    *river.Client[pgx.Tx]
}

// New returns the orders of pool, whose database has the tables of schema.sql and river. Start
// begins to ship them.
func New(pool *pgxpool.Pool) (*Orders, error) {
	o := &Orders{pool: pool, queries: queries.New(pool)}
	workers := river.NewWorkers()
	river.AddWorker(workers, &shipper{queries: o.queries})
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}},
		Workers: workers,
	})
	o.jobs = jobs
	return o, err
}

// Start ships orders until Stop.
func (o *Orders) Start(ctx context.Context) error { return o.jobs.Start(ctx) }

// Stop waits for the jobs under way.
func (o *Orders) Stop(ctx context.Context) error { return o.jobs.Stop(ctx) }

// Place takes an order and the job that ships it, or neither.
func (o *Orders) Place(ctx context.Context, item string) error {
	return pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		id, err := o.queries.WithTx(tx).AddOrder(ctx, item)
		if err != nil {
			return err
		}
		_, err = o.jobs.InsertTx(ctx, tx, ship{OrderID: id}, nil)
		return err
	})
}

// Shipped returns the items that were shipped.
func (o *Orders) Shipped(ctx context.Context) ([]string, error) { return o.queries.ListShipped(ctx) }

// ship is a job.
type ship struct {
	OrderID int64 `json:"order_id"`
}

// Kind names the job in river's table.
func (ship) Kind() string { return "ship" }

// shipper works on ship.
type shipper struct {
	river.WorkerDefaults[ship]
	queries *queries.Queries
}

// Work ships one order.
func (s *shipper) Work(ctx context.Context, job *river.Job[ship]) error {
	return s.queries.ShipOrder(ctx, job.Args.OrderID)
}
