package telemetry

import (
	"reflect"
	"slices"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// scopeName is the name of the instrumentation scope that spans and metrics carry.
const scopeName = "github.com/pgsafe/pgsafe"

// QueryText says what of a statement's text its span shows, as db.query.text. The summary, operations and the names
// of what they work on, is shown always.
type QueryText uint8

const (
	QueryTextMasked QueryText = iota // the text without literals and comments
	QueryTextNone                    // no text
	QueryTextRaw                     // the text as it is, with all it holds; but none that sets a password
)

// QueryParameters says whether spans show the arguments of statements, as db.query.parameter.0 and so on.
type QueryParameters uint8

const (
	QueryParametersHidden QueryParameters = iota
	QueryParametersShown                  // each as text, up to 256 bytes; they are your users' data
)

// Statements says whether statements have spans and measurements from this package.
type Statements uint8

const (
	StatementsTraced Statements = iota
	StatementsLeft              // to another layer: only connections and the pool are told of
)

// Config is what one pool's telemetry is made with. The zero value takes the global providers and masks the texts.
type Config struct {
	TracerProvider trace.TracerProvider // nil for the global one
	MeterProvider  metric.MeterProvider // nil for the global one
	Attributes     []attribute.KeyValue // on each span and measurement

	QueryText       QueryText
	QueryParameters QueryParameters
	Statements      Statements

	Pool     string // the pool's name; "" for host:port/database
	Host     string // the server's name or address, or the directory of its socket
	Port     uint16
	Database string
}

// Tracer makes the spans and measurements of one pool. It is safe for concurrent use. It is pgx's tracer of queries,
// batches, COPY, prepared statements, connects, acquires and releases at once.
type Tracer struct {
	config  Config
	tracer  trace.Tracer
	waiting trace.TracerProvider // the global placeholder, until an SDK takes its place; nil if there is no waiting
	metrics *metrics
	conns   conns

	mu      sync.Mutex // guards servers
	servers map[endpoint]*server
}

// New looks the providers up and makes the instruments. What the meter refuses is told to otel.Handle, and there are no
// metrics then: an application does not fail for its telemetry.
func New(c Config) *Tracer {
	c.Attributes = slices.Clone(c.Attributes)
	t := &Tracer{config: c, servers: make(map[endpoint]*server), conns: conns{open: make(map[*conn]struct{})}}
	provider := t.tracerProvider()
	if c.TracerProvider == nil && isPlaceholder(provider) {
		t.waiting = provider
	}
	if _, none := provider.(noop.TracerProvider); !none {
		t.tracer = provider.Tracer(scopeName, trace.WithSchemaURL(semconv.SchemaURL))
	}
	var err error
	t.metrics, err = newMetrics(t.meterProvider().Meter(scopeName, metric.WithSchemaURL(semconv.SchemaURL)), t.poolAttributes())
	if err != nil {
		otel.Handle(err)
		t.metrics, _ = newMetrics(noopmetric.Meter{}, nil) // which refuses nothing
	}
	return t
}

// isPlaceholder recognises what otel.GetTracerProvider returns while there is no SDK. Its spans are never recorded,
// but cost two allocations each (otel internal/global/trace.go, tracer.newSpan). If the name of the type changes, only
// those come back.
func isPlaceholder(p trace.TracerProvider) bool {
	return reflect.TypeOf(p).String() == "*global.tracerProvider"
}

// Close ends what is open: the spans of statements whose rows nobody has closed yet, and the observation of the pool.
// It does nothing for a nil Tracer.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	t.conns.abandon()
	t.metrics.close()
}

// poolAttributes are on everything that is measured about the pool.
func (t *Tracer) poolAttributes() []attribute.KeyValue {
	e := endpoint{t.config.Host, t.config.Port}
	return append(slices.Clone(t.config.Attributes),
		semconv.DBSystemNamePostgreSQL, semconv.DBClientConnectionPoolName(t.poolName(e)))
}

// poolName is the conventions' own form, where the application gives no other.
func (t *Tracer) poolName(e endpoint) string {
	if t.config.Pool != "" {
		return t.config.Pool
	}
	return e.String() + "/" + t.config.Database
}
