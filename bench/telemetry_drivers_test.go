package bench_test

import (
	"database/sql"
	"database/sql/driver"

	"github.com/XSAM/otelsql"
	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	uptrace "github.com/uptrace/opentelemetry-go-extra/otelsql"
	nhatthm "go.nhat.io/otelsql"
	oldsemconv "go.opentelemetry.io/otel/semconv/v1.20.0" // whose db.system these two go by
	"go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/pgsafe/pgsafe"
	_ "github.com/pgsafe/pgsafe/pgsafeotelsql" // for pgsafe_telemetry=otelsql
	"github.com/pgsafe/pgsafe/telemetry"
)

// A tracedDriver opens a database with the spans and metrics of one library, made by the providers of an SDK.
type tracedDriver struct {
	label string
	open  func(dsn string, s sdk) (*sql.DB, error)
}

// own are the two layers that pgsafe offers.
var own = []tracedDriver{
	{"pgsafe", openPgsafe},
	{"pgsafe-otelsql", func(dsn string, s sdk) (*sql.DB, error) {
		return openPgsafe(dsn+"&pgsafe_telemetry=otelsql", s)
	}},
}

// databaseName is set by hand in the spans and metrics of some peers.
const databaseName = "bench"

// peers are the libraries that a team would use otherwise, opened as their READMEs do it. Without those options most do
// not even tell which database system it is.
var peers = []tracedDriver{
	{"otelsql", func(dsn string, s sdk) (*sql.DB, error) { return otelsql.Open("pgx", dsn, otelsqlOptions(s)...) }},
	{"otelsql-tuned", openOtelsqlTuned},
	{"otelpgx", openOtelpgx},
	{"uptrace", func(dsn string, s sdk) (*sql.DB, error) {
		return uptrace.Open("pgx", dsn, uptrace.WithTracerProvider(s.tracer()), uptrace.WithMeterProvider(s.meter()),
			uptrace.WithAttributes(oldsemconv.DBSystemPostgreSQL), uptrace.WithDBName(databaseName))
	}},
	{"nhatthm", openNhatthm},
}

// tracedDrivers begins with the driver without telemetry, so that benchstat compares all others with it.
func tracedDrivers() []tracedDriver {
	bare := tracedDriver{"pgx", func(dsn string, _ sdk) (*sql.DB, error) { return sql.Open("pgx", dsn) }}
	return append(append([]tracedDriver{bare}, own...), peers...)
}

// openPgsafe is plain sql.Open where there is no SDK, because that is what most applications do.
func openPgsafe(dsn string, s sdk) (*sql.DB, error) {
	if s.providers == nil {
		return sql.Open(pgsafe.DriverName, dsn)
	}
	return pgsafe.Open(dsn, pgsafe.WithTelemetry(telemetry.WithTracerProvider(s.tracer()),
		telemetry.WithMeterProvider(s.meter())))
}

func otelsqlOptions(s sdk, more ...otelsql.Option) []otelsql.Option {
	return append([]otelsql.Option{
		otelsql.WithTracerProvider(s.tracer()), otelsql.WithMeterProvider(s.meter()),
		otelsql.WithAttributes(semconv.DBSystemNamePostgreSQL),
	}, more...)
}

// openOtelsqlTuned switches off what otelsql documents as noise: spans of rows, resets, prepares and connects, the text
// of the statement, driver.ErrSkip as an error.
func openOtelsqlTuned(dsn string, s sdk) (*sql.DB, error) {
	return otelsql.Open("pgx", dsn, otelsqlOptions(s,
		otelsql.WithSpanOptions(otelsql.SpanOptions{
			DisableErrSkip: true, DisableQuery: true,
			OmitConnResetSession: true, OmitConnPrepare: true, OmitRows: true, OmitConnectorConnect: true,
		}),
		otelsql.WithDisableSkipErrMeasurement(true),
	)...)
}

func openOtelpgx(dsn string, s sdk) (*sql.DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(s.tracer()), otelpgx.WithMeterProvider(s.meter()))
	return stdlib.OpenDB(*config), nil
}

// openNhatthm does what its Register and sql.Open do, without using up one of the names that Register can give.
func openNhatthm(dsn string, s sdk) (*sql.DB, error) {
	wrapped := nhatthm.Wrap(stdlib.GetDefaultDriver(),
		nhatthm.WithTracerProvider(s.tracer()), nhatthm.WithMeterProvider(s.meter()),
		nhatthm.AllowRoot(), nhatthm.TraceQueryWithoutArgs(), nhatthm.TraceRowsClose(), nhatthm.TraceRowsAffected(),
		nhatthm.WithDatabaseName(databaseName), nhatthm.WithSystem(oldsemconv.DBSystemPostgreSQL))
	connector, err := wrapped.(driver.DriverContext).OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
