package pgsafe

import (
	"cmp"
	"context"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/libpq"
)

// NewPoolConfig returns the configuration of a pgxpool.Pool, for code that uses pgx natively:
// river's pgx driver, sqlc's pgx/v5 code. dsn and opts mean what they mean to Open. The error is a
// *DSNError. No connection is made.
//
// The pool has pgsafe's connection strings, credentials and TLS files that are read anew,
// cancellation that keeps the connection, the recognition of poolers, and telemetry. Of the profile
// it has what pgxpool has: MaxConns, MinIdleConns (as MinConns), MaxConnLifetime and its jitter,
// MaxConnIdleTime, HealthCheckPeriod and PingTimeout.
//
// The pool shares nothing with a *sql.DB: its cap counts apart. It does not apply the settings of a
// context, reset sessions or repeat statements that never began. Errors are pgx's own. An error of
// connecting may hold the password (pgconn.ConnectError). The error of a statement whose context
// ended is the server's alone, SQLSTATE 57014.
//
// Use the configuration for one pool: two would share their metrics. The application may change it
// before. Four of its functions are pgsafe's: BeforeConnect, AfterConnect, PrepareConn,
// BeforeClose. Add your own by WithBeforeConnect and WithAfterConnect, or have yours end with a
// call of pgsafe's. Combine a tracer with the one in ConnConfig by pgx's multitracer.New.
func NewPoolConfig(dsn string, opts ...Option) (*pgxpool.Config, error) {
	c, err := NewConnector(dsn, opts...)
	if err != nil {
		return nil, err
	}
	// pgxpool insists on a configuration that it parsed itself. Only its mark is used.
	neutral, err := libpq.Neutral()
	if err != nil {
		return nil, dsnError(err)
	}
	config, err := pgxpool.ParseConfig(neutral)
	if err != nil {
		return nil, &DSNError{Code: CodeValue, Part: "PGSERVICE", Reason: "pgx refuses the section of the service file", Pos: -1,
			Hint: "give the file sections with lines of the form KEYWORD=VALUE only"}
	}
	config.ConnConfig = c.server.Conn.Copy()
	c.profile.apply(config)
	config.BeforeConnect = c.dialer.Configure
	config.AfterConnect = c.dialer.Finish
	config.BeforeClose = c.tracer.ConnClosing
	config.PrepareConn = func(_ context.Context, conn *pgx.Conn) (bool, error) {
		return canceler.HandlerOf(conn.PgConn()).Clear() == nil, nil
	}
	return config, nil
}

// noCap is the largest cap that pgxpool takes: Pool.Acquire counts to one more, in an int.
const noCap = math.MaxInt32 - 1

// apply puts the profile's numbers into pgxpool's configuration.
func (p Profile) apply(config *pgxpool.Config) {
	config.MaxConns = cmp.Or(p.MaxConns, noCap)
	config.MinConns, config.MinIdleConns = p.MinIdleConns, 0
	config.MaxConnLifetime, config.MaxConnLifetimeJitter = p.maxConnLifetime(), p.MaxConnLifetimeJitter
	config.MaxConnIdleTime = p.maxConnIdleTime()
	config.HealthCheckPeriod = p.healthCheckPeriod()
	config.PingTimeout = p.pingTimeout()
}
