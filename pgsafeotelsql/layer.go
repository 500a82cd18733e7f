package pgsafeotelsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/pgsafe/pgsafe/internal/telemetry/layer"
	"github.com/pgsafe/pgsafe/telemetry"
)

func init() { layer.Register("otelsql", Layer()) }

// Layer returns the layer for pgsafe.WithTelemetry. opts come after the corrected defaults and
// outrank them. The layer may be used by several connectors.
func Layer(opts ...otelsql.Option) telemetry.Layer {
	return layer.New(&library{options: slices.Clone(opts)})
}

// library is otelsql with the application's options.
type library struct{ options []otelsql.Option }

var _ layer.Library = (*library)(nil)

// Wrap implements layer.Library.
func (l *library) Wrap(next driver.Connector, pool layer.Pool) (driver.Connector, error) {
	wrapped := otelsql.WrapDriver(oneConnector{next}, l.optionsFor(pool)...)
	return wrapped.(driver.DriverContext).OpenConnector("")
}

// ObserveDB implements layer.Library.
func (l *library) ObserveDB(db *sql.DB, pool layer.Pool) (metric.Registration, error) {
	return otelsql.RegisterDBStatsMetrics(db, l.optionsFor(pool)...)
}

// optionsFor returns otelsql's options with its defaults corrected, then the application's. By
// default spans would have no db.system.name and no server.address. They would have the method's
// name instead of the statement's, the text with all literals, and the messages of the server's
// errors. Each reset of a session and each set of rows would have a span.
func (l *library) optionsFor(pool layer.Pool) []otelsql.Option {
	options := []otelsql.Option{
		otelsql.WithTracerProvider(quietProvider{TracerProvider: pool.TracerProvider}),
		otelsql.WithMeterProvider(pool.MeterProvider),
		otelsql.WithAttributes(pool.Attributes...),
		otelsql.WithSpanNameFormatter(func(_ context.Context, m otelsql.Method, text string) string {
			if text == "" {
				return string(m)
			}
			return pool.Describe(text).Name
		}),
		otelsql.WithSpanOptions(otelsql.SpanOptions{
			DisableErrSkip: true, DisableQuery: true,
			OmitConnResetSession: true, OmitRows: true, OmitConnectorConnect: true,
			RecordError: pool.Failed,
		}),
		otelsql.WithDisableSkipErrMeasurement(true),
		otelsql.WithAttributesGetter(
			func(_ context.Context, _ otelsql.Method, text string, _ []driver.NamedValue) []attribute.KeyValue {
				return pool.Describe(text).Span
			}),
		otelsql.WithInstrumentAttributesGetter(
			func(_ context.Context, _ otelsql.Method, text string, _ []driver.NamedValue) []attribute.KeyValue {
				return pool.Describe(text).Measured
			}),
		otelsql.WithSpanErrorAttributesGetter(pool.ErrorAttributes),
		otelsql.WithInstrumentErrorAttributesGetter(pool.ErrorAttributes),
	}
	return append(options, l.options...)
}

// oneConnector is a driver with a single Connector. otelsql wraps drivers and what they open, not
// Connectors.
type oneConnector struct{ connector driver.Connector }

var _ driver.DriverContext = oneConnector{}

func (o oneConnector) OpenConnector(string) (driver.Connector, error) { return o.connector, nil }

func (o oneConnector) Open(string) (driver.Conn, error) {
	return o.connector.Connect(context.Background())
}
