package pgsafe

import (
	"github.com/pgsafe/pgsafe/internal/driverkeys"
	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// settings are all that a connection string says.
type settings struct {
	conn     *libpq.Config
	profile  Profile
	driver   driverkeys.Settings
	warnings []urlfix.Note
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
	driver, err := driverkeys.Read(d.Driver)
	if err != nil {
		return nil, dsnError(err)
	}
	driver.Apply(conn.Conn)
	return &settings{conn, profile, driver, driver.Warnings(d.Warnings, conn.Warnings)}, nil
}
