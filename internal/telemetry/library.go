package telemetry

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"

	"github.com/pgsafe/pgsafe/internal/telemetry/layer"
)

// Wrap returns next with the layer's library around it, or next itself without a layer.
func (t *Tracer) Wrap(next driver.Connector) (driver.Connector, error) {
	if t == nil || t.library == nil {
		return next, nil
	}
	return t.library.Wrap(next, t.forLibrary())
}

// ObserveDB makes the layer's library report the statistics of db until Close. It does nothing
// without a layer. An error goes to otel.Handle.
func (t *Tracer) ObserveDB(db *sql.DB) {
	if t == nil || t.library == nil {
		return
	}
	registered, err := t.library.ObserveDB(db, t.forLibrary())
	if err != nil {
		otel.Handle(err)
		return
	}
	t.metrics.register(registered)
}

func (t *Tracer) forLibrary() layer.Pool {
	s := t.serverAt(t.config.endpoint())
	return layer.Pool{
		TracerProvider:  t.config.tracerProvider(),
		MeterProvider:   t.config.meterProvider(),
		Attributes:      s.attributes,
		Describe:        s.describe,
		Failed:          func(err error) bool { return outcomeOf(context.Background(), err).failed() },
		ErrorAttributes: errorAttributes,
	}
}

func errorAttributes(err error) []attribute.KeyValue {
	return outcomeOf(context.Background(), err).measured()
}

func (s *server) describe(text string) layer.Statement {
	if text == "" {
		return layer.Statement{}
	}
	st := s.statements.Get(text)
	return layer.Statement{Name: st.name, Span: st.described, Measured: described(st.summary, "")}
}
