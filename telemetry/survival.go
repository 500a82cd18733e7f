package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// survival are the instruments of what is done about failures.
type survival struct {
	cancels    metric.Int64Counter
	recoveries metric.Int64Counter
	leaks      metric.Int64Counter
}

func newSurvival(meter metric.Meter) (survival, error) {
	cancels, e1 := meter.Int64Counter("pgsafe.cancel.count", metric.WithUnit("{request}"),
		metric.WithDescription("The number of requests to cancel a statement whose context has ended."))
	recoveries, e2 := meter.Int64Counter("pgsafe.recovery.count", metric.WithUnit("{recovery}"),
		metric.WithDescription("The number of times that a failure was kept from the application."))
	leaks, e3 := meter.Int64Counter("pgsafe.session.leaked_state", metric.WithUnit("{state}"),
		metric.WithDescription("The number of things that statements left in a session, which was reset."))
	return survival{cancels, recoveries, leaks}, errors.Join(e1, e2, e3)
}

// Canceled counts a cancel request, with err if the server did not take it and the connection is closed.
func (t *Tracer) Canceled(err error) {
	outcome := "taken"
	if err != nil {
		outcome = "closed"
	}
	t.metrics.count(t.metrics.cancels, attribute.String("pgsafe.cancel.outcome", outcome))
}

// Recovered counts a failure that the application does not see, or sees once.
func (t *Tracer) Recovered(cause string) {
	t.metrics.count(t.metrics.recoveries, attribute.String("pgsafe.recovery.cause", cause))
}

// LeakedState counts one thing that a statement left in a session, which was reset.
func (t *Tracer) LeakedState(what, summary string) {
	t.metrics.count(t.metrics.leaks, attribute.String("pgsafe.session.state", what), semconv.DBQuerySummary(summary))
}

func (m *metrics) count(counter metric.Int64Counter, what ...attribute.KeyValue) {
	ctx := context.Background()
	if counter.Enabled(ctx) {
		set := attribute.NewSet(append(m.where[:len(m.where):len(m.where)], what...)...)
		counter.Add(ctx, 1, metric.WithAttributeSet(set))
	}
}

// ObserveCertificate reports how many seconds the client certificate has left whenever the metrics are read, until
// Close. expiry reports false while there is none.
func (t *Tracer) ObserveCertificate(expiry func() (time.Time, bool)) {
	if err := t.metrics.observeCertificate(expiry); err != nil {
		otel.Handle(err)
	}
}

func (m *metrics) observeCertificate(expiry func() (time.Time, bool)) error {
	gauge, err := m.meter.Float64ObservableGauge("pgsafe.tls.certificate.expiry", metric.WithUnit("s"),
		metric.WithDescription("The time until the client certificate expires; negative once it has."))
	if err != nil {
		return err
	}
	all := metric.WithAttributeSet(attribute.NewSet(m.where...))
	registered, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		if at, ok := expiry(); ok {
			o.ObserveFloat64(gauge, time.Until(at).Seconds(), all)
		}
		return nil
	}, gauge)
	if err != nil {
		return err
	}
	m.registered = append(m.registered, registered)
	return nil
}
