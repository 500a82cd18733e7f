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

// NewPoolConfig returns the configuration of a pgxpool.Pool of the application's own, for code that uses pgx natively:
// river's pgx driver, sqlc's pgx/v5 code. dsn and opts mean what they mean to Open: connection strings of any form,
// credentials and TLS files that are read anew, cancellation that keeps the connection, telemetry, and the profile's
// numbers as far as pgxpool has them. The error is a *DSNError. No connection is made.
//
// The pool is apart from every *sql.DB, with a cap of its own. What pgsafe does above pgx's connections it does not do
// for such a pool: settings of the context, the reset of sessions, the repetition of statements that never began.
// Errors of connecting are pgx's own. Use the configuration for one pool.
func NewPoolConfig(dsn string, opts ...Option) (*pgxpool.Config, error) {
	c, err := NewConnector(dsn, opts...)
	if err != nil {
		return nil, err
	}
	// pgxpool insists on a configuration that it parsed itself; of this one only its mark is used.
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
	o := newOptions(opts)
	config.ConnConfig.Tracer = o.tracers(c.server.Conn.Tracer, c.tracer)
	c.profile.apply(config)
	config.BeforeConnect = c.dialer.Configure
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, _, err := c.dialer.Finish(ctx, conn)
		return err
	}
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
	config.PingTimeout = p.PingTimeout
}
