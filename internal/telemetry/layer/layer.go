// Package layer hands the telemetry of statements over to another library. It is the contract
// between the Tracer and a module that links such a library, so that neither imports the other.
package layer

import (
	"database/sql"
	"database/sql/driver"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Layer is a library that makes the spans of statements, or no library: the zero value. Its public
// name is telemetry.Layer.
type Layer struct{ library Library }

// New returns the layer of l.
func New(l Library) Layer { return Layer{l} }

// LibraryOf returns the library of l, nil for the zero value.
func LibraryOf(l Layer) Library { return l.library }

// Library makes the spans and measurements of statements.
type Library interface {
	// Wrap returns next with the library around it.
	Wrap(next driver.Connector, pool Pool) (driver.Connector, error)
	// ObserveDB reports the statistics of db until the registration ends. The Tracer ends it.
	ObserveDB(db *sql.DB, pool Pool) (metric.Registration, error)
}

// Pool is what a Library gets from the Tracer of its pool. Its functions are safe for concurrent
// use.
type Pool struct {
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Attributes describe the pool and its server. They belong on every span and measurement.
	Attributes []attribute.KeyValue
	// Describe describes the statement with this text. The result is the zero Statement for "".
	Describe func(text string) Statement
	// Failed reports whether err is a failure. sql.ErrNoRows and a caller's cancellation are not.
	Failed func(err error) bool
	// ErrorAttributes classify err. They contain no message.
	ErrorAttributes func(err error) []attribute.KeyValue
}

// Statement describes one statement. The slices are shared: append to a copy.
type Statement struct {
	Name     string               // of its span
	Span     []attribute.KeyValue // for its span
	Measured []attribute.KeyValue // for its measurements, of few values
}
