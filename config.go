package pgsafe

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// defaultConnectTimeout applies where neither the connection string nor PGCONNECT_TIMEOUT says otherwise: libpq
// would wait for ever, and pgxpool two minutes.
const defaultConnectTimeout = 10 * time.Second

// settings are all that a connection string says.
type settings struct {
	config   *pgx.ConnConfig
	profile  Profile
	native   bool
	warnings []urlfix.Note
}

// readSettings turns a connection string into pgx's configuration. env is the profile that the environment asks for. The error is a *DSNError.
func readSettings(dsn, env string) (*settings, error) {
	d, err := urlfix.Parse(dsn)
	if err != nil {
		return nil, dsnError(err)
	}
	profile, err := profileOf(d.Pool, env)
	if err != nil {
		return nil, err
	}
	if err := checkFiles(d.Params); err != nil {
		return nil, err
	}
	config, err := connConfig(d)
	if err != nil {
		return nil, err
	}
	driver, err := driverSettingsOf(d.Driver)
	if err != nil {
		return nil, err
	}
	driver.apply(config)
	return &settings{config: config, profile: profile, native: driver.native, warnings: d.Warnings}, nil
}

// connConfig lets pgx parse the string without its password, which is put in afterwards: so no error of pgx's, and
// no ConnString, can hold it.
func connConfig(d *urlfix.DSN) (*pgx.ConnConfig, error) {
	var options pgx.ParseConfigOptions
	if d.SSLPassword.IsSet() {
		options.GetSSLPassword = func(context.Context) string { return d.SSLPassword.Reveal() }
	}
	options.ConnStringAllowedKeys = []string{"host", "port", "user", "dbname"}
	for _, p := range d.Params {
		options.ConnStringAllowedKeys = append(options.ConnStringAllowedKeys, p.Key)
	}
	config, err := pgx.ParseConfigWithOptions(d.SafeURI(), options)
	if err != nil {
		return nil, parseError(err)
	}
	if d.Password.IsSet() {
		config.Password = d.Password.Reveal()
	}
	if err := checkService(config.RuntimeParams, d.Params); err != nil {
		return nil, err
	}
	for _, p := range d.Settings {
		config.RuntimeParams[p.Key] = p.Value
	}
	if config.ConnectTimeout == 0 && os.Getenv("PGCONNECT_TIMEOUT") == "" && !hasParam(d.Params, "connect_timeout") {
		config.ConnectTimeout = defaultConnectTimeout
	}
	return config, nil
}

// checkService refuses what a service file says and no server knows. All else that pgx makes a run-time parameter was
// checked with the string.
func checkService(runtime map[string]string, given []urlfix.Param) error {
	for key := range runtime {
		switch {
		case hasParam(given, key), urlfix.IsSetting(key), key == "options", key == "application_name", key == "client_encoding":
		default:
			return &DSNError{Code: CodeUnknownKey, Part: "service", Pos: -1,
				Reason: "the service file has a key that is neither libpq's nor a setting of the server",
				Hint:   "keep pool_* and other keys of the driver in the connection string"}
		}
	}
	return nil
}

func hasParam(params []urlfix.Param, key string) bool {
	for _, p := range params {
		if p.Key == key {
			return true
		}
	}
	return false
}

// checkFiles looks for the files that a connection string names, because pgx's error about one that is missing
// tells the whole string along with it.
func checkFiles(params []urlfix.Param) error {
	for _, p := range params {
		switch p.Key {
		case "sslrootcert", "sslcert", "sslkey", "passfile":
		default:
			continue
		}
		if p.Value == "" || (p.Key == "sslrootcert" && p.Value == "system") {
			continue
		}
		f, err := os.Open(p.Value)
		switch {
		case err == nil:
			_ = f.Close() // opened for reading only
		case p.Key == "passfile" && errors.Is(err, fs.ErrNotExist):
			// libpq goes on without one (fe-connect.c, passwordFromFile).
		default:
			return &DSNError{Code: CodeValue, Part: p.Key, Pos: -1,
				Reason: "the file cannot be read: " + fileTrouble(err),
				Hint:   "give the path of a file that this process may read"}
		}
	}
	return nil
}

// fileTrouble is the system's word for what is wrong, without the path.
func fileTrouble(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return "it cannot be opened"
}

// parseError says in words of our own what pgx did not like. By now the string itself is known to be well formed,
// so it is a certificate, the environment (PG* variables) or a service file.
func parseError(err error) error {
	e := &DSNError{Code: CodeValue, Part: "environment", Pos: -1,
		Reason: "pgx refuses the combination of the connection string, the PG* environment variables and the files they name",
		Hint:   "check PGSERVICE, PGSSLMODE, PGSSLROOTCERT and their like, and that certificate files hold PEM"}
	var pe *pgconn.ParseConfigError
	if errors.As(err, &pe) && tlsTrouble(pe) {
		e.Part = "sslrootcert, sslcert, sslkey"
		e.Reason = "TLS cannot be configured from these files"
		e.Hint = "use PEM files; sslcert and sslkey belong together; an encrypted key needs sslpassword"
	}
	return e
}

// tlsTrouble recognises pgconn's only message about TLS settings (pgconn/config.go, ParseConfigWithOptions).
func tlsTrouble(err error) bool {
	return strings.Contains(err.Error(), "failed to configure TLS")
}

// noCap is the largest cap that pgxpool takes: Pool.Acquire counts to one more, in an int.
const noCap = math.MaxInt32 - 1

// poolConfig puts the profile's numbers into pgxpool's own configuration.
func poolConfig(conn *pgx.ConnConfig, p Profile) (*pgxpool.Config, error) {
	// pgxpool insists on a configuration that it parsed itself; of this one only its mark is used.
	config, err := pgxpool.ParseConfig("host=localhost port=5432 user=pgsafe dbname=pgsafe sslmode=disable")
	if err != nil {
		return nil, parseError(err)
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
