// Package options carries what the functions of the public package telemetry have set to the driver.
package options

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/telemetry/layer"
)

// Options is what an application has set. The zero value is the default.
type Options struct {
	Off bool // no telemetry at all

	TracerProvider  trace.TracerProvider
	MeterProvider   metric.MeterProvider
	Attributes      []attribute.KeyValue
	ServerTags      []attribute.KeyValue
	PoolName        string
	QueryText       uint8 // a telemetry.QueryText
	QueryParameters bool
	TraceComments   bool
	Layer           layer.Layer
}
