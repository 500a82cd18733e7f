package session

import (
	"cmp"
	"context"
	"database/sql"
	"io"
	"reflect"
	"sync"

	"github.com/pgsafe/pgsafe/internal/ctxrows"
)

// rowsContext is the context of a query whose rows the driver tells of. It is for rows that end with the session's context,
// outside of transactions: the session waits for that end once, for all of them (session.follow), and ends them itself.
type rowsContext struct {
	context.Context // what the query runs with
	opening

	mu       sync.Mutex // guards all below; nothing else is locked under it
	err      error      // why it is ended
	running  ctxrows.Canceler
	canceled chan struct{} // closed when running has cancelled it; nil if it was not told to
	rows     io.Closer     // nil while they are not returned yet, and once they are closed
}

var _ ctxrows.Watcher = (*rowsContext)(nil)

func (s *session) newRowsContext(ctx context.Context, from caller, kind string, turn *turn) *opening {
	if ctx == context.Context(&s.ctx) {
		ctx = s.ctx.Context // database/sql and the driver look for nothing in ours, and each look takes its time
	}
	o := &rowsContext{Context: ctx}
	o.opening = opening{watcher: o, kind: kind, from: from, session: s, turn: turn, owned: true}
	return &o.opening
}

// Done is nil while rows are open.
func (o *rowsContext) Done() <-chan struct{} {
	if o.open.Load() {
		return nil
	}
	return o.Context.Done()
}

// Query, Running, Opened, Ended and Over are for the driver: see ctxrows.Watcher.
func (o *rowsContext) Query() context.Context { return o.Context }

func (o *rowsContext) Running(c ctxrows.Canceler) error {
	o.mu.Lock()
	o.running = c
	o.mu.Unlock()
	// Who ends it from now on finds c, and who has done so before is found here.
	err := o.Ended()
	if err != nil {
		o.Over()
	}
	return err
}

func (o *rowsContext) Opened() { o.open.Store(true) }

func (o *rowsContext) Ended() error {
	o.mu.Lock()
	err := o.err
	o.mu.Unlock()
	if err != nil || o.Context.Err() == nil {
		return err
	}
	return cmp.Or(o.session.end(), o.Context.Err())
}

func (o *rowsContext) Over() {
	o.mu.Lock()
	running, canceled, returned := o.running, o.canceled, o.rows != nil
	o.running, o.canceled, o.rows = nil, nil, nil
	o.mu.Unlock()
	if canceled != nil {
		<-canceled
		running.HandleUnwatchAfterCancel()
	}
	if returned {
		o.closed()
	}
}

// opened takes the rows.
func (o *rowsContext) opened(rows io.Closer) bool {
	if !o.open.Load() { // the driver has not seen this context: something is around it
		o.session.db.silent.Store(true)
		o.closed()
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return false
	}
	o.rows = rows
	return true
}

// end cancels the query and closes its rows, in goroutines: to cancel takes a connection to the server, and to close has to wait
// for who reads them, for which database/sql has a goroutine too (Rows.awaitDone).
func (o *rowsContext) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	o.err = err
	if running := o.running; running != nil {
		canceled := make(chan struct{})
		o.canceled = canceled
		go func() {
			defer close(canceled)
			running.HandleCancel(o.Context)
		}()
	}
	if rows := o.rows; rows != nil {
		go func() { _ = rows.Close() }() // who reads them finds the error in their Err
	}
}

func (o *rowsContext) follow() {} // the session does, for all of them

func (o *rowsContext) unfollow() {}

// rowCloser closes the rows of a row that may never be scanned. database/sql has no way to do that but the end of the query's
// context. If there are no such rows in a *sql.Row, as there may be in another Go, rowsContext is not used for it
// (canCloseRow).
type rowCloser struct{ row *sql.Row }

func (r rowCloser) Close() error {
	return (*sql.Rows)(reflect.ValueOf(r.row).Elem().FieldByIndex(rowsField.Index).UnsafePointer()).Close()
}

var rowsField, canCloseRow = func() (reflect.StructField, bool) {
	f, ok := reflect.TypeFor[sql.Row]().FieldByName("rows")
	return f, ok && f.Type == reflect.TypeFor[*sql.Rows]()
}()
