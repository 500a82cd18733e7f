package telemetry

import (
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/pgsafe/pgsafe/internal/telemetry/layer"
)

// scopeName is the instrumentation scope of all spans and metrics.
const scopeName = "github.com/pgsafe/pgsafe"

// Tracer makes the spans and measurements of one pool. It implements pgx's tracers of queries,
// batches, COPY, prepared statements and connects, and pgxpool's tracers of acquires and releases.
// It is safe for concurrent use.
//
// A nil *Tracer makes nothing: the methods that the pool calls are safe on it. It must not become
// the tracer of a pgx configuration.
type Tracer struct {
	config  Config
	library layer.Library        // makes the spans of statements; nil if the Tracer does
	tracer  trace.Tracer         // nil if the provider makes no spans
	global  trace.TracerProvider // the placeholder until the application sets an SDK; nil if not needed
	metrics *metrics
	conns   conns
	native  native

	recorders recorders
	expiry    atomic.Pointer[func() (time.Time, bool)] // of the client certificate, nil if unknown

	mu      sync.Mutex // guards servers
	servers map[endpoint]*server
}

// New looks up the providers and makes the instruments. If the meter refuses an instrument, New
// reports that to otel.Handle and the Tracer has no metrics: telemetry must not fail the
// application.
func New(c Config) *Tracer {
	c.Attributes = slices.Clone(c.Attributes)
	t := &Tracer{
		config:  c,
		library: layer.LibraryOf(c.Layer),
		conns:   newConns(),
		servers: make(map[endpoint]*server),
	}
	provider := c.tracerProvider()
	if c.TracerProvider == nil && isPlaceholder(provider) {
		t.global = provider
	}
	if _, none := provider.(noop.TracerProvider); !none {
		t.tracer = provider.Tracer(scopeName, trace.WithSchemaURL(semconv.SchemaURL))
	}
	meter := c.meterProvider().Meter(scopeName, metric.WithSchemaURL(semconv.SchemaURL))
	var err error
	t.metrics, err = newMetrics(meter, t.poolAttributes())
	if err != nil {
		otel.Handle(err)
		t.metrics, _ = newMetrics(noopmetric.Meter{}, nil) // which refuses nothing
	}
	return t
}

// isPlaceholder recognizes the provider that otel.GetTracerProvider returns while there is no SDK.
// Its spans are never recorded, but cost two allocations each (otel internal/global/trace.go,
// tracer.newSpan). If the type's name changes, the only effect is that these allocations come back.
func isPlaceholder(p trace.TracerProvider) bool {
	return reflect.TypeOf(p).String() == "*global.tracerProvider"
}

// Close ends the spans of statements whose rows are still open, and all observations. A second call
// does nothing.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	t.conns.abandon()
	t.metrics.close()
}

// tracesStatements reports whether the Tracer makes the spans of statements.
func (t *Tracer) tracesStatements() bool { return t.library == nil }

// poolAttributes are on all measurements of the pool.
func (t *Tracer) poolAttributes() []attribute.KeyValue {
	return append(slices.Clone(t.config.Attributes),
		semconv.DBSystemNamePostgreSQL, semconv.DBClientConnectionPoolName(t.config.poolName()))
}
