package telemetry

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/telemetry/layer"
	"github.com/pgsafe/pgsafe/telemetry"
)

// QueryParameters selects whether spans show the arguments of statements, as
// db.query.parameter.<n>. The zero value hides them.
type QueryParameters uint8

const (
	QueryParametersHidden QueryParameters = iota
	QueryParametersShown                  // each as text of up to 256 bytes; arguments are the users' data
)

// Config configures the Tracer of one pool. The zero value uses the global providers and masks
// texts.
type Config struct {
	TracerProvider trace.TracerProvider // nil for the global one
	MeterProvider  metric.MeterProvider // nil for the global one
	Attributes     []attribute.KeyValue // on each span and measurement

	QueryText       telemetry.QueryText
	QueryParameters QueryParameters
	Layer           layer.Layer // makes the spans of statements; the zero value leaves them to the Tracer

	Pool     string // the pool's name; "" for host:port/database
	Host     string // the server's name or address, or the directory of its socket
	Port     uint16
	Database string
}

func (c *Config) tracerProvider() trace.TracerProvider {
	if c.TracerProvider != nil {
		return c.TracerProvider
	}
	return otel.GetTracerProvider()
}

func (c *Config) meterProvider() metric.MeterProvider {
	if c.MeterProvider != nil {
		return c.MeterProvider
	}
	return otel.GetMeterProvider()
}

func (c *Config) endpoint() endpoint { return endpoint{c.Host, c.Port} }

// poolName is the configured name, or the form that the conventions recommend.
func (c *Config) poolName() string {
	if c.Pool != "" {
		return c.Pool
	}
	return c.endpoint().String() + "/" + c.Database
}
