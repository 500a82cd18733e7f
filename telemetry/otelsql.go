package telemetry

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Layer says who tells of statements. The zero value is this package.
type Layer struct {
	otelsql bool
	options []otelsql.Option
}

// Otelsql leaves statements and transactions to github.com/XSAM/otelsql, for teams whose dashboards use its
// names: give it to pgsafe.WithTelemetry. This package goes on to tell of the pool and of physical connects. opts come
// after the corrected defaults, and outrank them; docs/telemetry.md says what is corrected, and what the layer costs.
func Otelsql(opts ...otelsql.Option) Layer {
	return Layer{otelsql: true, options: slices.Clone(opts)}
}

// Wrap returns next behind the layer, which is next itself for the zero value.
func (t *Tracer) Wrap(l Layer, next driver.Connector) (driver.Connector, error) {
	if !l.otelsql {
		return next, nil
	}
	wrapped := otelsql.WrapDriver(oneConnector{next}, t.otelsqlOptions(l)...)
	return wrapped.(driver.DriverContext).OpenConnector("")
}

// ObserveDB has otelsql measure the numbers of db too, until Close, if it is the layer.
func (t *Tracer) ObserveDB(l Layer, db *sql.DB) {
	if !l.otelsql {
		return
	}
	registered, err := otelsql.RegisterDBStatsMetrics(db, t.otelsqlOptions(l)...)
	if err != nil {
		otel.Handle(err)
		return
	}
	t.metrics.registered = append(t.metrics.registered, registered)
}

// Statements says what is left for this package to do.
func (l Layer) Statements() Statements {
	if l.otelsql {
		return StatementsLeft
	}
	return StatementsTraced
}

// oneConnector is a driver that has one Connector only, since otelsql wraps drivers, and what they open.
type oneConnector struct{ connector driver.Connector }

var _ driver.DriverContext = oneConnector{}

func (o oneConnector) OpenConnector(string) (driver.Connector, error) { return o.connector, nil }

func (o oneConnector) Open(string) (driver.Conn, error) {
	return o.connector.Connect(context.Background())
}

// otelsqlOptions are otelsql's options with its defaults corrected, and then those of l. Left as they are, spans would
// have no db.system.name and no server.address, the method's name in place of the statement's, its text with all
// literals, the words of the server's errors, and one for each reset of a session and each set of rows.
func (t *Tracer) otelsqlOptions(l Layer) []otelsql.Option {
	s := t.serverAt(endpoint{t.config.Host, t.config.Port})
	options := []otelsql.Option{
		otelsql.WithTracerProvider(quietProvider{TracerProvider: t.tracerProvider()}),
		otelsql.WithMeterProvider(t.meterProvider()),
		otelsql.WithAttributes(s.attributes...),
		otelsql.WithSpanNameFormatter(func(_ context.Context, m otelsql.Method, query string) string {
			if query == "" {
				return string(m)
			}
			return s.statements.Get(query).name
		}),
		otelsql.WithSpanOptions(otelsql.SpanOptions{
			DisableErrSkip: true, DisableQuery: true, OmitConnResetSession: true, OmitRows: true, OmitConnectorConnect: true,
			RecordError: func(err error) bool { return outcomeOf(context.Background(), err).failed() },
		}),
		otelsql.WithDisableSkipErrMeasurement(true),
		otelsql.WithAttributesGetter(func(_ context.Context, _ otelsql.Method, query string, _ []driver.NamedValue) []attribute.KeyValue {
			return s.described(query)
		}),
		otelsql.WithInstrumentAttributesGetter(func(_ context.Context, _ otelsql.Method, query string, _ []driver.NamedValue) []attribute.KeyValue {
			return s.summarized(query)
		}),
		otelsql.WithSpanErrorAttributesGetter(errorAttributes),
		otelsql.WithInstrumentErrorAttributesGetter(errorAttributes),
	}
	return append(options, l.options...)
}

func (s *server) described(query string) []attribute.KeyValue {
	if query == "" {
		return nil
	}
	return s.statements.Get(query).described
}

func (s *server) summarized(query string) []attribute.KeyValue {
	if query == "" {
		return nil
	}
	return described(s.statements.Get(query).summary, "")
}

// errorAttributes tells what kind of error it is, and nothing of what it says.
func errorAttributes(err error) []attribute.KeyValue {
	return outcomeOf(context.Background(), err).attributes()
}

func (t *Tracer) tracerProvider() trace.TracerProvider {
	if t.config.TracerProvider != nil {
		return t.config.TracerProvider
	}
	return otel.GetTracerProvider()
}

func (t *Tracer) meterProvider() metric.MeterProvider {
	if t.config.MeterProvider != nil {
		return t.config.MeterProvider
	}
	return otel.GetMeterProvider()
}
