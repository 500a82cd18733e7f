// Package batch is a worker that imports orders in small transactions.
package batch

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pgsafe/pgsafe/session"
)

// Order is one line of an import.
type Order struct {
	ID     int64
	Amount int64 // in cents
}

// chunk is how many orders are in one transaction. Each is a savepoint, and more than 64 of them in a
// transaction overflow a cache of the server (PGPROC_MAX_CACHED_SUBXIDS).
const chunk = 50

// Worker imports orders. It is safe for concurrent use.
type Worker struct {
	db       *sql.DB
	progress func(done, all int)
}

// NewWorker returns a worker on db. It calls progress after each chunk of orders.
func NewWorker(db *sql.DB, progress func(done, all int)) *Worker { return &Worker{db, progress} }

// Import adds the orders, in transactions of 50. A transaction that loses to another one runs
// again. Import returns how many orders are imported for certain, so that a caller can go on from
// there. The import does not end with the request that began it.
func (w *Worker) Import(ctx context.Context, orders []Order) (imported int, err error) {
	err = session.Batch(session.Detach(ctx), w.db, len(orders), chunk,
		func(ctx context.Context, from, to int) error { return w.add(ctx, orders[from:to]) },
		session.WithProgress(w.progress),
		session.WithChunkTx(session.TxOptions{Isolation: sql.LevelSerializable, Retries: 5}))
	if err == nil {
		return len(orders), nil
	}
	if failed, ok := errors.AsType[*session.BatchError](err); ok {
		imported = failed.From
	}
	return imported, err
}

// add adds orders in the transaction of ctx. An invalid order is skipped: its savepoint alone is
// rolled back.
func (w *Worker) add(ctx context.Context, orders []Order) error {
	for _, o := range orders {
		err := session.Tx(ctx, w.db, nil, func(ctx context.Context) error { return w.addOne(ctx, o) })
		if err != nil && !errors.Is(err, errInvalid) {
			return err
		}
	}
	return nil
}

var errInvalid = errors.New("batch: invalid order")

// addOne adds an order, and its amount to the day's sum.
func (w *Worker) addOne(ctx context.Context, o Order) error {
	if _, err := w.db.ExecContext(ctx, "INSERT INTO orders (id, amount) VALUES ($1, $2)", o.ID, o.Amount); err != nil {
		return err
	}
	var sum int64
	row := w.db.QueryRowContext(ctx, "UPDATE sums SET amount = amount + $1 RETURNING amount", o.Amount)
	if err := row.Scan(&sum); err != nil {
		return err
	}
	if sum < 0 {
		return fmt.Errorf("%w: order %d makes the sum negative", errInvalid, o.ID)
	}
	return nil
}
