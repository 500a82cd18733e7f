// Package ctxrows is between a session that watches the rows of its queries (package session) and the lease of package
// pgsafe, on which they run: they meet in the query's context.
package ctxrows

import "context"

// Watcher is the context of one query, and knows whether its rows are open. It is made for a session that waits for the end
// of its context once, for all of its queries: it cancels them, and closes their rows, itself. Otherwise database/sql
// has a goroutine and a context of its own wait for that, for the rows of each query (Rows.initContextClose), and pgx
// registers a function with it (ctxwatch.ContextWatcher.Watch).
type Watcher interface {
	// Context is what database/sql gets. Its Done is nil while rows are open, since database/sql has nothing to wait for then.
	context.Context

	// Query returns what the query is about: a context that ends when the Watcher does, whose Done stays.
	Query() context.Context

	// Running is called before the query is sent. From then on until Over, c is called when the Watcher ends. An error is why
	// it has ended already: the query must not be sent, and Over not be called.
	Running(c Canceler) error

	// Opened is called when the query has rows.
	Opened()

	// Ended returns why the rows are closed early, nil if they are not.
	Ended() error

	// Over is called when the query has failed, or its rows are closed. It returns when c is not called any more.
	Over()
}

// Canceler cancels what runs on a connection. It is a ctxwatch.Handler of pgx's that is safe for concurrent use. HandleCancel is
// called at most once, and HandleUnwatchAfterCancel after it, when the query is over.
type Canceler interface {
	HandleCancel(ctx context.Context)
	HandleUnwatchAfterCancel()
}

// Unwatched is a context for a query that a Watcher cancels: pgx does not wait for its end, but sees it.
type Unwatched struct{ context.Context }

// Done is nil until the context has ended: then pgx sends nothing more, such as a query that it has prepared meanwhile
// (PgConn.ExecStatement). If it ends between the two looks that pgx takes there, pgx calls the Canceler as well.
func (u Unwatched) Done() <-chan struct{} {
	if u.Err() == nil {
		return nil
	}
	return u.Context.Done()
}
