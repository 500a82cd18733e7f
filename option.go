package pgsafe

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/records"
	telemetryoptions "github.com/pgsafe/pgsafe/internal/telemetry/options"
	"github.com/pgsafe/pgsafe/telemetry"
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
	isOpened      bool // the pool is Driver.Open's
	modeGiven     bool // the connection string has default_query_exec_mode
	telemetry     telemetryoptions.Options
	cancelTimeout *time.Duration
}

func newOptions(opts []Option) options {
	o := options{logger: records.Default}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// complete adds what the connection string says, which options outrank.
func (o *options) complete(s *settings) error {
	o.native = o.native || s.driver.Native
	o.modeGiven = s.driver.Mode != nil
	if o.cancelTimeout == nil {
		o.cancelTimeout = s.driver.CancelTimeout
	}
	if o.profile == nil {
		o.profile = &s.profile
	}
	o.telemetry.PoolName = cmp.Or(o.telemetry.PoolName, s.driver.PoolName)
	return o.setTelemetry(s.driver.Telemetry)
}

// validate refuses numbers that contradict each other. The error is a *DSNError.
func (o *options) validate() error {
	if o.isOpened {
		o.profile.MinIdleConns, o.profile.WarmUp = 0, 0
	}
	if o.cancelLimit() < 0 {
		return refuse(CodeValue, "pgsafe_cancel_timeout", "the time is below zero",
			"use zero to close the connection of a cancelled statement at once")
	}
	err := o.profile.validate() // one from a string was validated before
	if own, ok := errors.AsType[*DSNError](err); ok {
		own.Part = "Profile"
	}
	return err
}

// cancelLimit is how long a statement may take to end once its context has.
func (o *options) cancelLimit() time.Duration {
	if o.cancelTimeout == nil {
		return canceler.DefaultTimeout
	}
	return *o.cancelTimeout
}

// cancels reports whether statements are cancelled by requests.
func (o *options) cancels() bool { return o.cancelLimit() > 0 && !o.native }

// WithBeforeConnect calls f before each new server connection, with a copy of the configuration
// that f may change, for a password that is made anew each time, say. An error ends the attempt and
// reaches the caller. Where Password is empty when f returns, the password file is asked, for the
// servers, user and database that f leaves.
func WithBeforeConnect(f func(context.Context, *pgx.ConnConfig) error) Option {
	return func(o *options) { o.beforeConnect = f }
}

// WithAfterConnect calls f after each new server connection was made and before it is used, for
// type registration, say. An error closes the connection and reaches the caller.
//
// A reset of the session (SessionReset) goes back to the settings, the role and the session
// authorization that f sets. Of the application's own settings, with a dot in their name, the server
// keeps no list: give those to the connection string (options) or to the role (ALTER ROLE ... SET).
// If f leaves other session state (LISTEN, temporary tables, locks, cursors, PREPARE), a reset that
// would undo it closes the connection instead, and f runs on the next one.
func WithAfterConnect(f func(context.Context, *pgx.Conn) error) Option {
	return func(o *options) { o.afterConnect = f }
}

// WithPassword asks f for the password of each new connection: for tokens that live for minutes, or
// a secret that is rotated. It outranks the password of the connection string, of the environment
// and of password files, with NewConnectorConfig too. f's result is sent as it is, the empty string
// included. f runs within connect_timeout, in several goroutines at once, and decides itself
// whether to keep a token for the next time. Its error ends the dial and reaches the caller. Its
// passwords are kept out of errors and logs.
//
// A function of WithBeforeConnect runs after it, and may still change the password.
func WithPassword(f func(context.Context) (string, error)) Option {
	return func(o *options) { o.password = f }
}

// WithProfile sets the pool's numbers. It outranks what the connection string and PGSAFE_PROFILE
// say.
func WithProfile(p Profile) Option {
	return func(o *options) { o.profile = &p }
}

// WithDialect reads the connection string in the dialect d, where its form does not tell it: see
// Dialect. It has no effect on NewConnectorConfig.
func WithDialect(d Dialect) Option {
	return func(o *options) { o.dialect = d }
}

// WithLogger sends what has no caller to return to, such as a failed warm-up, and the warnings
// about a connection string, to l instead of slog.Default(). nil changes nothing, and a logger with
// slog.DiscardHandler ends all records. pgsafe_warnings=off in a connection string leaves out only
// the warnings about it. No record holds a secret.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) {
		if l != nil {
			o.logger = l
		}
	}
}

// WithNativeConn hands database/sql pgx's own *stdlib.Conn instead of *Conn, for applications that
// cast to it in sql.Conn.Raw and cannot change. Each of database/sql's connections is then a
// connection to the server, as with pgx's own driver, and the profile's numbers have no effect but
// for the cap, which Open gives to SetMaxOpenConns. Connection strings, credentials, TLS and
// telemetry are pgsafe's. Lost are its pool and what it does on a handle: warm connections,
// recovery and the repetition of statements that never began, cancellation that keeps the
// connection, and the reset of sessions. A statement whose context has settings
// (session.WithSettings) is refused. In a connection string: pgsafe_conn=native.
func WithNativeConn() Option {
	return func(o *options) { o.native = true }
}

// WithCancelTimeout sets how long a statement may take to end once its context has, 1 s by default.
// Meanwhile the server is asked to cancel it, which takes it about as long as opening a connection,
// and the connection is kept. Where that does not end it in time, and with zero at once, the
// connection is closed, as pgx does. It outranks what the connection string says:
// pgsafe_cancel_timeout=500ms.
//
// It is also what a COMMIT is given to end after its transaction's context, since no request is
// sent to cancel that, and the ROLLBACK of a transaction whose context has ended.
func WithCancelTimeout(d time.Duration) Option {
	return func(o *options) { o.cancelTimeout = &d }
}

// WithTelemetry changes spans and metrics: their providers, attributes, and how much of a statement
// they show. Several calls add up. See package telemetry.
func WithTelemetry(opts ...telemetry.Option) Option {
	return func(o *options) {
		for _, opt := range opts {
			opt(&o.telemetry)
		}
	}
}
