package pgsafe

import (
	"slices"
	"time"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// settings are all that a connection string says.
type settings struct {
	conn          *libpq.Config
	profile       Profile
	native        bool
	telemetry     string         // pgsafe_telemetry
	modeGiven     bool           // default_query_exec_mode
	cancelTimeout *time.Duration // pgsafe_cancel_timeout
	warnings      []urlfix.Note
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
		cancelTimeout: driver.cancelTimeout,
		warnings:      slices.Concat(d.Warnings, conn.Warnings),
	}, nil
}
