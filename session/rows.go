package session

import (
	"context"
	"database/sql"
	"io"
	"reflect"
	"sync"
)

// rowsContext is the context of a query whose rows the driver tells of. It is for rows that end with the session's context,
// outside of transactions.
//
// Once the driver has returned rows it never ends, as far as database/sql can see, which has no goroutine wait for its end
// then (Rows.initContextClose). The session waits for the end of all its rows at once, and closes them (end).
type rowsContext struct {
	context.Context // what the query runs with
	opening

	mu   sync.Mutex // guards all below; nothing else is locked under it
	err  error      // why they are closed early
	rows io.Closer  // nil while they are not returned yet, and once they are closed
	over bool       // they are closed
}

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

// Query is called by the driver, as are the three methods that follow: what to run the query with.
func (o *rowsContext) Query() context.Context { return o.Context }

// Opened is called when the query has rows.
func (o *rowsContext) Opened() { o.open.Store(true) }

// Closed is called when they are closed.
func (o *rowsContext) Closed() {
	o.mu.Lock()
	o.over, o.rows = true, nil
	o.mu.Unlock()
	o.closed()
}

// Ended is why they are closed early, nil if they are not.
func (o *rowsContext) Ended() error {
	if err := o.endedWith(); err != nil || o.Context.Err() == nil {
		return err
	}
	if err := o.session.end(); err != nil {
		return err
	}
	return o.Context.Err()
}

func (o *rowsContext) endedWith() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
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
	if !o.over {
		o.rows = rows
	}
	return true
}

// end closes the rows, in a goroutine, since that may have to wait for who reads them, as database/sql does (Rows.awaitDone).
func (o *rowsContext) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	o.err = err
	if rows := o.rows; rows != nil {
		go func() { _ = rows.Close() }() // who reads them finds the error in their Err
	}
}

func (o *rowsContext) follow() {}

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
