package session

import (
	"context"
	"sync/atomic"
	"time"
)

// turn lets one at a time use a connection: a statement while it runs, and its rows until they are closed.
type turn struct {
	taken chan struct{}
	rows  atomic.Pointer[openContext] // whose turn it is, if it is rows, or a query that will have some
	tx    atomic.Uintptr              // the function of the transaction whose turn it is, if it is one's
}

func (t *turn) init() { t.taken = make(chan struct{}, 1) }

// try takes the turn if it is free.
func (t *turn) try() bool {
	select {
	case t.taken <- struct{}{}:
		return true
	default:
		return false
	}
}

// done ends a turn.
func (t *turn) done() {
	t.rows.Store(nil)
	t.tx.Store(0)
	<-t.taken
}

// wait takes the turn as soon as it is free. It does not wait for open rows, and for a row that is not scanned yet,
// a transaction, or rows that come while it waits, no longer than patience: they may well be waiting for us.
func (t *turn) wait(ctx context.Context, patience time.Duration) error {
	if t.try() {
		return nil
	}
	if rows := t.open(); rows != nil && rows.kind == kindRows {
		return &busyError{rows.kind, &rows.from}
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case t.taken <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			if rows := t.open(); rows != nil {
				return &busyError{rows.kind, &rows.from}
			}
			if from := t.tx.Load(); from != 0 {
				return &busyError{kindTransaction, function(from)}
			}
			timer.Reset(patience)
		}
	}
}

// open returns the rows that have the turn, nil if nothing has or a statement that runs.
func (t *turn) open() *openContext {
	if o := t.rows.Load(); o != nil && o.isOpen() {
		return o
	}
	return nil
}

// take takes the turn whatever it is that has it, before ctx ends.
func (t *turn) take(ctx context.Context) error {
	select {
	case t.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
