package connect

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/libpq"
)

// Options say how a Dialer connects. Server and Logger are required. A nil function is not called.
type Options struct {
	// Server is the configuration. The Dialer connects with copies of Server.Conn, and sets the
	// functions OnPassword and OnUnusable of Server.
	Server *libpq.Config

	// Password returns the password of each connection, which replaces the configured one. It has
	// the time of connect_timeout, or 10 s without one.
	Password func(context.Context) (string, error)

	// BeforeConnect may change the configuration of each connection.
	BeforeConnect func(context.Context, *pgx.ConnConfig) error

	// AfterConnect prepares each connection before its first use. An error closes the connection.
	AfterConnect func(context.Context, *pgx.Conn) error

	// Prepare adds pgsafe's own parts to the configuration of each connection. It is called after
	// the application's functions, right before dialing. The configuration is used for one
	// connection only.
	Prepare func(context.Context, *pgx.ConnConfig)

	// OnServerError is called for each server error that concerns other connections too, never with
	// Nothing. It runs in the goroutine that uses the connection, and must not use the connection.
	// It is called for connections that Dial has not returned yet, too.
	OnServerError func(*pgconn.PgConn, *pgconn.PgError, Verdict)

	// OnCertificateExpired is called when a client certificate expires with which a connection was
	// made. It runs in a goroutine of its own, which Close does not wait for.
	OnCertificateExpired func()

	// KeepExecMode is true if the application chose the mode of execution: it then stays in force
	// for connections through a pooler.
	KeepExecMode bool

	// Logger takes the log records. LogPool is what they call the pool.
	Logger  *slog.Logger
	LogPool slog.LogValuer
}
