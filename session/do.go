package session

import (
	"context"
	"database/sql"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/scope"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// Option changes how a session is observed.
type Option func(*options)

type options struct{ repeats int }

// defaultRepeats is the limit of WithRepeatLimit.
const defaultRepeats = 10

// WithRepeatLimit sets how often statements of one summary, such as "SELECT orders", may run in a
// session before the session's span has an event that says so. A loop of single queries (N+1) causes
// it. The default is 10. Zero means no event.
func WithRepeatLimit(n int) Option { return func(o *options) { o.repeats = n } }

func newOptions(opts []Option) options {
	o := options{repeats: defaultRepeats}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Do calls f with a context that belongs to a session of db, and returns f's error. The session ends
// with f, by a return, a panic or runtime.Goexit: then its context is cancelled, its connection is
// released, and what is still open is reported. Within a session or a transaction of db, f becomes a
// part of that. The error is ErrForeign, and f is not called, if db is not of the pgsafe driver.
//
// Statements with the context of a session that is over run as without one.
func Do(ctx context.Context, db *sql.DB, f func(ctx context.Context) error, opts ...Option) error {
	home, err := homeOf(db)
	if err != nil {
		return err
	}
	return do(ctx, home, newOptions(opts), f)
}

// DoOn is Do for a *sql.DB whose Connector a layer hides: c is that Connector. A limit of
// SetMaxOpenConns stays where it is: use the pool's cap instead.
func DoOn(ctx context.Context, c *pgsafe.Connector, f func(ctx context.Context) error, opts ...Option) error {
	home, err := homeOn(c)
	if err != nil {
		return err
	}
	return do(ctx, home, newOptions(opts), f)
}

func do(ctx context.Context, home *scope.Home, o options, f func(ctx context.Context) error) error {
	if belongs(ctx, home) {
		return f(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	s, ctx := home.NewSession(ctx, o.repeats)
	outcome := tracing.SessionAborted
	defer func() { s.End(outcome, cancel) }()
	err := f(ctx)
	outcome = tracing.SessionOK
	if err != nil {
		outcome = tracing.SessionError
	}
	return err
}

// belongs reports whether ctx belongs to a session that goes on, or to a transaction.
func belongs(ctx context.Context, home *scope.Home) bool {
	s := home.Of(ctx)
	return s != nil && (s.Level != nil || !s.Session.Ended())
}

// Detach returns a context for work that goes on when the session, the transaction or the request is
// over. It has the values of ctx, its span and its settings among them, but no deadline and no end, and
// it belongs to no session and no transaction of any database.
func Detach(ctx context.Context) context.Context { return scope.Detach(ctx) }
