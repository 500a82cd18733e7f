package pgsafe

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/telemetry"
)

// WithTracerProvider makes the spans with p. By default, and with nil, it is OpenTelemetry's global provider at the time
// that the connector opens; if there is none yet, the first one that is set later.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(o *options) { o.telemetry.TracerProvider = p }
}

// WithMeterProvider makes the metrics with p, by default and with nil the global provider, as for WithTracerProvider.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(o *options) { o.telemetry.MeterProvider = p }
}

// WithAttributes puts attributes on every span and measurement. Several calls add up. Their values should be few: each
// combination is a time series of its own.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(o *options) { o.telemetry.Attributes = append(o.telemetry.Attributes, attributes...) }
}

// WithPoolName sets db.client.connection.pool.name, which tells the pools of one application apart. By default it is
// host:port/database.
func WithPoolName(name string) Option {
	return func(o *options) { o.telemetry.Pool = name }
}

// WithQueryText says what of a statement's text its span shows. By default literals are masked and comments left out.
func WithQueryText(t telemetry.QueryText) Option {
	return func(o *options) { o.telemetry.QueryText = t }
}

// WithQueryParameters shows the arguments of each statement on its span. They are your users' data, and everybody
// who can read the traces can read them.
func WithQueryParameters() Option {
	return func(o *options) { o.telemetry.QueryParameters = telemetry.QueryParametersShown }
}

// WithTraceComments puts the trace context in front of the text of each statement that is sampled, so that the
// server's log and pg_stat_activity lead to its span. Such a statement is prepared anew each time, without a name, which
// costs a second round trip; all others go on using pgx's cache. Statements of db.Prepare have no comment.
func WithTraceComments() Option {
	return func(o *options) { o.comments = true }
}

// WithServerTags adds tags to application_name, as in "orders service.version=1.4", so that pg_stat_activity and the
// server's log tell which instance a connection belongs to. The server takes 63 bytes; what does not fit is left out.
func WithServerTags(tags ...attribute.KeyValue) Option {
	return func(o *options) { o.tags = append(o.tags, tags...) }
}

// WithTelemetry leaves statements to another layer: WithTelemetry(telemetry.Otelsql()). In a connection string:
// pgsafe_telemetry=otelsql.
func WithTelemetry(l telemetry.Layer) Option {
	return func(o *options) { o.layer = l }
}

// WithoutTelemetry makes no spans and no metrics. Tracers of the application's own stay. In a connection string:
// pgsafe_telemetry=off.
func WithoutTelemetry() Option {
	return func(o *options) { o.untold = true }
}
