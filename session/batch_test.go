package session_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestBatch(t *testing.T) {
	t.Run("each chunk is committed, in one session, and progress is told", func(t *testing.T) {
		t.Parallel()
		r := newRecorder(t)
		sqlDB, db := ledger(t, "pgsafe", append(r.options(), session.WithLinger(forLong))...)
		var progress []string
		err := db.Batch(t.Context(), 7, 3, func(ctx context.Context, from, to int) error {
			for i := from; i < to; i++ {
				enter(t, ctx, db, fmt.Sprint(i))
			}
			return nil
		}, session.WithProgress(func(done, items int) {
			progress = append(progress, fmt.Sprintf("%d/%d", done, items))
			check.Equal(t, len(entries(t, sqlDB)), 2*done-1) // others see it
		}))
		check.OK(t, err)
		check.Equal(t, fmt.Sprint(progress), "[3/7 6/7 7/7]")
		check.Equal(t, entries(t, sqlDB), "0 1 2 3 4 5 6")
		check.Equal(t, r.sum("pgsafe.session.checkouts"), 1)
	})
	t.Run("a chunk that fails ends it, and those before stay", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := ledger(t, "pgsafe")
		err := db.Batch(t.Context(), 7, 3, func(ctx context.Context, from, to int) error {
			enter(t, ctx, db, fmt.Sprint(from))
			if from == 3 {
				return errApp
			}
			return nil
		}, session.WithChunkTx(session.TxOptions{Retries: 1}))
		is(t, err, errApp)
		var failed *session.BatchError
		check.Equal(t, errors.As(err, &failed), true)
		check.Equal(t, failed.From, 3)
		check.Equal(t, failed.To, 6)
		check.Equal(t, entries(t, sqlDB), "0")
	})
	t.Run("it stops when its context ends", func(t *testing.T) {
		t.Parallel()
		sqlDB, db := ledger(t, "pgsafe")
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Batch(ctx, 7, 3, func(ctx context.Context, from, _ int) error {
			enter(t, ctx, db, fmt.Sprint(from))
			return nil
		}, session.WithProgress(func(int, int) { cancel() }))
		is(t, err, context.Canceled)
		check.Equal(t, entries(t, sqlDB), "0")
	})
}
