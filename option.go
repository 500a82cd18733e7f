package pgsafe

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"

	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// Option wires something into a Connector. Numbers of the pool are data: see Profile.
type Option func(*options)

type options struct {
	beforeConnect func(context.Context, *pgx.ConnConfig) error
	afterConnect  func(context.Context, *pgx.Conn) error
	password      func(context.Context) (string, error)
	profile       *Profile
	logger        *slog.Logger
	dialect       Dialect
	native        bool
	modeGiven     bool // the connection string has default_query_exec_mode
	telemetry     tracing.Config
	untold        bool // without telemetry
	comments      bool
	tags          []attribute.KeyValue
	cancelTimeout *time.Duration
}

func newOptions(opts []Option) options {
	o := options{logger: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// WithBeforeConnect calls f before each new physical connection, with a copy of the configuration that f may
// change, for a password that is made anew each time, say. An error ends the attempt and reaches the caller. Where
// Password is empty when f returns, the password file is asked, for the servers, user and database that f leaves.
func WithBeforeConnect(f func(context.Context, *pgx.ConnConfig) error) Option {
	return func(o *options) { o.beforeConnect = f }
}

// WithAfterConnect calls f after each new physical connection was made and before it is used, for type
// registration, say. An error closes the connection and reaches the caller. The server's settings and the role that f
// sets are what a reset of the session goes back to (SessionReset); of the application's own settings, with a dot in their
// name, the server keeps no list: give those to the connection string (options) or to the role (ALTER ROLE ... SET).
func WithAfterConnect(f func(context.Context, *pgx.Conn) error) Option {
	return func(o *options) { o.afterConnect = f }
}

// WithProfile sets the pool's numbers. It outranks what the connection string and PGSAFE_PROFILE say.
func WithProfile(p Profile) Option {
	return func(o *options) { o.profile = &p }
}

// WithDialect reads the connection string in the dialect d, where its form does not tell it: see Dialect. It has no
// effect on NewConnectorConfig.
func WithDialect(d Dialect) Option {
	return func(o *options) { o.dialect = d }
}

// WithLogger sends what has no caller to return to, such as a failed warm-up, and the warnings about a
// connection string, to l. By default, and with nil, nothing is logged. No record holds a secret.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) {
		if l != nil {
			o.logger = l
		}
	}
}

// WithNativeConn hands database/sql pgx's own *stdlib.Conn instead of *Conn, for applications that cast to it in
// sql.Conn.Raw and cannot change. The pool stays. Lost are what only a lease can do: a waiter cannot take a parked
// connection back, so the cap holds only through SetMaxOpenConns (Open sets it); prepared statements end with
// the lease; SetConnMaxLifetime and SetConnMaxIdleTime return a connection to the pool instead of closing it; errors
// are pgx's own, so that a statement is not repeated whose connection the server ended before it began, and pgx cancels,
// by closing the connection; what statements leave in a session reaches its next user (SessionReset); and a statement
// whose context has settings (session.WithSettings) is refused.
// In a connection string: pgsafe_conn=native.
func WithNativeConn() Option {
	return func(o *options) { o.native = true }
}

// WithCancelTimeout sets how long a statement may take to end once its context has, 1 s by default. Meanwhile the server is
// asked to cancel it, which takes it about as long as opening a connection, and the connection is kept. Where that does
// not end it in time, and with zero at once, the connection is closed, as pgx does. It outranks what the connection string
// says: pgsafe_cancel_timeout=500ms.
//
// It is also what a COMMIT is given to end after its transaction's context, since no request is sent to cancel that, and the
// ROLLBACK of a transaction whose context has ended.
func WithCancelTimeout(d time.Duration) Option {
	return func(o *options) { o.cancelTimeout = &d }
}
