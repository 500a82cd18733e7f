package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/telemetry/options"
)

// Option changes the telemetry of one pool. Pass it to pgsafe.WithTelemetry.
type Option func(*options.Options)

// Off makes no spans and no metrics. The application's own pgx tracers stay. In a connection string:
// pgsafe_telemetry=off.
func Off() Option {
	return func(o *options.Options) { o.Off = true }
}

// WithTracerProvider makes the spans with p. By default, and with nil, that is OpenTelemetry's global
// provider when the connector opens. If there is none at that time, it is the first one set later.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(o *options.Options) { o.TracerProvider = p }
}

// WithMeterProvider makes the metrics with p. By default, and with nil, that is the global provider,
// as for WithTracerProvider.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(o *options.Options) { o.MeterProvider = p }
}

// WithAttributes puts attributes on every span and measurement. Several calls add up. Keep
// cardinality low: each combination of values is a separate time series.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(o *options.Options) { o.Attributes = append(o.Attributes, attributes...) }
}

// WithPoolName sets db.client.connection.pool.name, which distinguishes the pools of an application.
// The default is host:port/database.
func WithPoolName(name string) Option {
	return func(o *options.Options) { o.PoolName = name }
}

// WithQueryText selects what a span shows of its statement's text. The default, QueryTextMasked,
// leaves out literals and comments.
func WithQueryText(t QueryText) Option {
	return func(o *options.Options) { o.QueryText = uint8(t) }
}

// WithQueryParameters shows the arguments of each statement on its span, each as text of up to 256
// bytes. Arguments are your users' data: everyone with access to the traces can read them.
func WithQueryParameters() Option {
	return func(o *options.Options) { o.QueryParameters = true }
}

// WithTraceComments puts the trace context in front of the text of each sampled statement, so that
// the server's log and pg_stat_activity lead to its span. pgx then prepares the statement anew each
// time, without a name, which costs a second round trip. Other statements use pgx's cache.
func WithTraceComments() Option {
	return func(o *options.Options) { o.TraceComments = true }
}

// WithServerTags adds tags to application_name, as in "orders service.version=1.4", so that
// pg_stat_activity and the server's log show the instance of a connection. The server accepts 63
// bytes. The first tag that does not fit and all later tags are left out.
func WithServerTags(tags ...attribute.KeyValue) Option {
	return func(o *options.Options) { o.ServerTags = append(o.ServerTags, tags...) }
}

// WithLayer leaves the spans and measurements of statements to another library. Package
// github.com/pgsafe/pgsafe/pgsafeotelsql, a module of its own, makes the layer of XSAM's otelsql.
// In a connection string: pgsafe_telemetry=otelsql, in a program that imports that package. The zero
// Layer is pgsafe's own telemetry, the default.
func WithLayer(l Layer) Option {
	return func(o *options.Options) { o.Layer = l }
}
