package pgsafe

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// settings are all that a connection string says.
type settings struct {
	conn      *libpq.Config
	profile   Profile
	native    bool
	telemetry string         // pgsafe_telemetry
	modeGiven bool           // default_query_exec_mode
	cancels   *time.Duration // pgsafe_cancel_timeout
	warnings  []urlfix.Note
}

// readSettings turns a connection string into pgx's configuration. env is the profile that the environment asks for.
// The error is a *DSNError.
func readSettings(dsn string, dialect Dialect, env string) (*settings, error) {
	d, err := urlfix.ParseAs(dsn, string(dialect))
	if err != nil {
		return nil, dsnError(err)
	}
	profile, err := profileOf(d.Pool, env)
	if err != nil {
		return nil, err
	}
	conn, err := libpq.Read(d)
	if err != nil {
		return nil, dsnError(err)
	}
	driver, err := driverSettingsOf(d.Driver)
	if err != nil {
		return nil, err
	}
	driver.apply(conn.Conn)
	return &settings{
		conn: conn, profile: profile, native: driver.native, telemetry: driver.telemetry, modeGiven: driver.mode != nil,
		cancels:  driver.cancelTimeout,
		warnings: slices.Concat(d.Warnings, conn.Warnings),
	}, nil
}

// noCap is the largest cap that pgxpool takes: Pool.Acquire counts to one more, in an int.
const noCap = math.MaxInt32 - 1

// poolConfig puts the profile's numbers into pgxpool's own configuration.
func poolConfig(conn *pgx.ConnConfig, p Profile) (*pgxpool.Config, error) {
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
	config.ConnConfig = conn
	config.MaxConns = cmp.Or(p.MaxConns, noCap)
	config.MinConns = p.MinIdleConns
	config.MinIdleConns = 0
	config.MaxConnLifetime = cmp.Or(p.MaxConnLifetime, defaultMaxConnLifetime)
	config.MaxConnLifetimeJitter = p.MaxConnLifetimeJitter
	config.MaxConnIdleTime = cmp.Or(p.MaxConnIdleTime, defaultMaxConnIdleTime)
	config.HealthCheckPeriod = cmp.Or(p.HealthCheckPeriod, defaultHealthCheckPeriod)
	config.PingTimeout = p.PingTimeout
	return config, nil
}
