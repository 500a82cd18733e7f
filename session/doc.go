// Package session binds database work to a context: one request, one session, transactions that nest, and nothing left
// behind. It works over any *sql.DB; over one of the pgsafe driver it also sees when somebody waits for a connection.
//
//	db := session.Wrap(sqlDB)           // has the methods of *sql.DB that sqlc, gorm, bun and scan libraries use
//	http.Handle("/", db.Middleware(h))  // or db.Do(ctx, func(ctx context.Context) error { ... })
//
//	err := db.Tx(ctx, nil, func(ctx context.Context) error {
//		_, err := db.ExecContext(ctx, "UPDATE accounts SET ...") // in the transaction, as is all that gets this ctx
//		return err
//	})
//
// Each call of db finds in its context what it belongs to: the transaction, else the session, else nothing, and then it
// goes to the pool. Two databases never mix: each handle finds only what was begun through one of the same *sql.DB.
//
// # The connection
//
// A session takes a connection with its first statement, and keeps it between statements for a few milliseconds (WithLinger):
// so the five statements of a request make one checkout. Under load, from when somebody waits for a connection until nobody
// has waited for a tenth of a second, it keeps none; or, where the statements of sessions follow one another within
// microseconds, for half a millisecond and 16 statements at most. A statement that comes while the connection is busy (rows are
// being read, say) goes to the pool. Within a transaction, and after a statement that leaves something in the server's
// session (SET, LISTEN, temporary tables, advisory locks, ...: known over a pgsafe *sql.DB only), the connection is kept,
// statements wait for each other, and rows in the way are ErrBusy.
//
// # The end
//
// However the function ends that Do, Tx or Middleware has called, by a return, a panic or runtime.Goexit, its context is
// cancelled, its transaction rolled back unless it returned nil, and its connection given back. What it left open is closed
// and reported, with the line that opened it; rows that are closed so have ErrEnded as their Err. Goroutines that go on with
// its context get ErrEnded; those that are meant to outlive it take Detach.
//
// # Telemetry
//
// With an OpenTelemetry SDK in the application, each session has a span and is measured.
//
// Spans:
//
//	SESSION   internal   from Do to its end; parent of what runs in it
//
// Attributes of spans:
//
//	pgsafe.session.statements     statements, those in transactions too, without BEGIN, COMMIT and savepoints
//	pgsafe.session.checkouts      times that a connection was taken from the *sql.DB
//	pgsafe.session.wait_time      in seconds, spent waiting for connections
//	pgsafe.session.database_time  in seconds, spent in calls to the database, without the reading of rows
//	pgsafe.session.outcome        ok, error, or aborted by a panic or Goexit
//
// Events on spans:
//
//	pgsafe.session.repeated     one statement was run more often than WithRepeatLimit says: db.query.summary
//	pgsafe.session.left_open    what was left open: pgsafe.left_open.kind, code.file.path, code.line.number
//	pgsafe.transaction.retry    a transaction runs again: pgsafe.transaction.attempt, db.response.status_code
//
// Metrics:
//
//	pgsafe.session.duration     histogram   s             from Do to its end
//	pgsafe.session.statements   histogram   {statement}   statements in one session
//	pgsafe.session.checkouts    histogram   {checkout}    times that one session took a connection
//	pgsafe.session.wait_time    histogram   s             spent waiting for connections by one session
//	pgsafe.session.left_open    counter     {object}      what was left open, by pgsafe.left_open.kind
//	pgsafe.transaction.retries  counter     {retry}       transactions that ran again, by db.response.status_code
package session
