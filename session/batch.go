package session

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/scope"
)

// BatchOption changes how Batch works.
type BatchOption func(*batch)

type batch struct {
	tx       *TxOptions
	progress func(done, items int)
}

// WithProgress calls f after each chunk that was committed, with the number of items done so far and in
// all. The goroutine that called Batch calls it.
func WithProgress(f func(done, items int)) BatchOption {
	return func(b *batch) { b.progress = f }
}

// WithChunkTx sets how the transaction of each chunk runs.
func WithChunkTx(opts TxOptions) BatchOption {
	return func(b *batch) { b.tx = &opts }
}

// BatchError says how far Batch has come: all items before From are committed, and none from there on.
type BatchError struct {
	From, To int // the chunk that failed: the items from From up to, but not including, To
	Err      error
}

// Error names the chunk and the reason.
func (e *BatchError) Error() string {
	return fmt.Sprintf("session: items %d to %d: %v", e.From, e.To, e.Err)
}

// Unwrap returns the reason.
func (e *BatchError) Unwrap() error { return e.Err }

// Batch calls f for items 0 to items-1 in chunks of at most size, one after another in one session,
// each in a transaction of its own (see Tx), with the chunk's bounds: from, and to, which is not part
// of it.
//
//	err := session.Batch(session.Detach(ctx), db, len(orders), 500, func(ctx context.Context, from, to int) error {
//		return insert(ctx, orders[from:to])
//	})
//
// It stops at the first chunk that fails, and when ctx ends, with a *BatchError. If the cause is
// ErrCommitUnknown that chunk may be committed. It panics if size is below one.
func Batch(
	ctx context.Context, db *sql.DB, items, size int, f func(ctx context.Context, from, to int) error, opts ...BatchOption,
) error {
	home, err := homeOf(db)
	if err != nil {
		return err
	}
	return runBatch(ctx, home, items, size, f, opts)
}

// BatchOn is Batch for a *sql.DB whose Connector a layer hides: c is that Connector.
func BatchOn(
	ctx context.Context, c *pgsafe.Connector, items, size int, f func(ctx context.Context, from, to int) error,
	opts ...BatchOption,
) error {
	home, err := homeOn(c)
	if err != nil {
		return err
	}
	return runBatch(ctx, home, items, size, f, opts)
}

func runBatch(
	ctx context.Context, home *scope.Home, items, size int, f func(ctx context.Context, from, to int) error,
	opts []BatchOption,
) error {
	if size < 1 {
		panic("session: Batch with chunks of less than one item")
	}
	b := &batch{progress: func(int, int) {}}
	for _, opt := range opts {
		opt(b)
	}
	return do(ctx, home, newOptions(nil), func(ctx context.Context) error {
		for from := 0; from < items; from += size {
			to := min(from+size, items)
			err := newTransaction(home, b.tx, func(ctx context.Context) error { return f(ctx, from, to) }).run(ctx)
			if err != nil {
				return &BatchError{from, to, err}
			}
			b.progress(to, items)
		}
		return nil
	})
}
