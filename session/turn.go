package session

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// turn lets one at a time use a connection: a statement while it runs, and its rows until they are closed. The zero value
// is free.
type turn struct {
	rows atomic.Pointer[opening] // whose turn it is, if it is rows, or a query that will have some
	tx   atomic.Uintptr          // the function of the transaction whose turn it is, if it is one's

	mu    sync.Mutex // guards all below; nothing blocks under it
	taken bool
	line  []chan struct{} // of those who wait, the longest first; closed when it is their turn
}

// try takes the turn if it is free.
func (t *turn) try() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	free := !t.taken
	t.taken = true
	return free
}

// done ends a turn. It is then that of the first in line.
func (t *turn) done() {
	t.rows.Store(nil)
	t.tx.Store(0)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.line) == 0 {
		t.taken = false
		return
	}
	close(t.line[0])
	t.line = slices.Delete(t.line, 0, 1)
}

// join takes the turn, and returns nil, or else a place in the line.
func (t *turn) join() (ready chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.taken {
		t.taken = true
		return nil
	}
	ready = make(chan struct{})
	t.line = append(t.line, ready)
	return ready
}

// quit gives a place in the line back, or the turn if that has come.
func (t *turn) quit(ready chan struct{}) {
	t.mu.Lock()
	i := slices.Index(t.line, ready)
	if i >= 0 {
		t.line = slices.Delete(t.line, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 {
		t.done()
	}
}

// wait takes the turn as soon as it is free. It does not wait for open rows, and for a row that is not scanned yet,
// a transaction, or rows that come while it waits, no longer than patience: they may well be waiting for us.
func (t *turn) wait(ctx context.Context, patience time.Duration) error {
	if t.try() {
		return nil
	}
	if rows := t.open(); rows != nil && rows.kind == kindRows {
		return &busyError{rows.kind, rows.from}
	}
	ready := t.join()
	if ready == nil {
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-ready:
			return nil
		case <-ctx.Done():
			t.quit(ready)
			return ctx.Err()
		case <-timer.C:
			if err := t.busy(); err != nil {
				t.quit(ready)
				return err
			}
			timer.Reset(patience)
		}
	}
}

// busy returns the error for what has the turn, nil if that is a statement that runs.
func (t *turn) busy() error {
	if rows := t.open(); rows != nil {
		return &busyError{rows.kind, rows.from}
	}
	if from := t.tx.Load(); from != 0 {
		return &busyError{kindTransaction, function(from)}
	}
	return nil
}

// open returns the rows that have the turn, nil if nothing has or a statement that runs.
func (t *turn) open() *opening {
	if o := t.rows.Load(); o != nil && o.open.Load() {
		return o
	}
	return nil
}

// take takes the turn whatever it is that has it, before ctx ends.
func (t *turn) take(ctx context.Context) error {
	ready := t.join()
	if ready == nil {
		return nil
	}
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		t.quit(ready)
		return ctx.Err()
	}
}
