// Package session makes sessions, transactions and settings follow the context through a plain
// *sql.DB of the pgsafe driver, into mappers and generated code that know nothing of it:
//
//	http.Handle("/", session.Middleware(db)(mux)) // or session.Do(ctx, db, func(ctx context.Context) error { ... })
//
//	err := session.Tx(ctx, db, nil, func(ctx context.Context) error {
//		_, err := db.ExecContext(ctx, "UPDATE accounts SET ...") // in the transaction
//		return err
//	})
//
// # What is in a transaction
//
// Each statement that is run on the same *sql.DB with the context of Tx, or one derived from it: by
// ExecContext, QueryContext, QueryRowContext, PrepareContext and the statement's methods, and by a
// *sql.Conn or a *sql.Tx that is begun with it. So gorm, bun, ent, sqlx and sqlc on that *sql.DB are in
// the transaction. Statements of several goroutines wait for each other, first come, first served. A
// statement that comes while rows are open has the rest of them read into memory first.
//
// Within Tx, both Tx and sql.DB.BeginTx begin a savepoint. While that is under way, statements with
// the outer context wait for its end.
//
// Outside, because the driver cannot know better, are statements whose context does not come from
// Tx's: of methods without a context, on another *sql.DB (of the same database too), and on a *sql.Conn
// that has run a statement before. A statement outside that waits for what the transaction has locked, or for
// the connection that it holds, waits in vain. Give the pool a timeout (pool_acquire_timeout).
//
// # Sessions
//
// A session is one request or job. Its statements prefer one connection, but hold none between them.
// A statement that leaves session state behind (SET, LISTEN, a temporary table, an advisory lock) makes
// the session keep that connection, alone, until the session's end. What a session leaves open is
// reported to the connector's logger and to telemetry, and closed. See the package telemetry for the
// names.
//
// # Limits
//
// Do and Tx move a limit that was set with SetMaxOpenConns from the *sql.DB to the pool: a transaction's
// next statement would else wait for a handle which a caller has that waits for a connection.
package session
