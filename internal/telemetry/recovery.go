package telemetry

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// recovery has the instruments of what pgsafe does about failures.
type recovery struct {
	cancels    metric.Int64Counter
	recoveries metric.Int64Counter
	leaks      metric.Int64Counter
}

func newRecovery(meter metric.Meter) (recovery, error) {
	cancels, e1 := meter.Int64Counter("pgsafe.cancels", metric.WithUnit("{request}"),
		metric.WithDescription("The number of requests to cancel a statement whose context has ended."))
	recoveries, e2 := meter.Int64Counter("pgsafe.recoveries", metric.WithUnit("{recovery}"),
		metric.WithDescription("The number of failures that were hidden from the application."))
	leaks, e3 := meter.Int64Counter("pgsafe.session.leaked_state", metric.WithUnit("{state}"),
		metric.WithDescription("The number of effects that statements left in a session before its reset."))
	return recovery{cancels, recoveries, leaks}, errors.Join(e1, e2, e3)
}

// Canceled counts a cancel request. err is not nil if the server did not act on it, so that the
// connection is closed.
func (t *Tracer) Canceled(err error) {
	if t == nil {
		return
	}
	outcome := "taken"
	if err != nil {
		outcome = "closed"
	}
	t.metrics.count(t.metrics.cancels, attribute.String("pgsafe.cancel.outcome", outcome))
}

// Recovered counts a failure that the application does not see, or sees only once.
func (t *Tracer) Recovered(cause string) {
	if t == nil {
		return
	}
	t.metrics.count(t.metrics.recoveries, attribute.String("pgsafe.recovery.cause", cause))
}

// LeakedState counts one effect, such as "listen", that the statement with this summary left in its
// session before the reset.
func (t *Tracer) LeakedState(what, summary string) {
	if t == nil {
		return
	}
	t.metrics.count(t.metrics.leaks, attribute.String("pgsafe.session.state", what), semconv.DBQuerySummary(summary))
}

func (m *metrics) count(counter metric.Int64Counter, what ...attribute.KeyValue) {
	ctx := context.Background()
	if counter.Enabled(ctx) {
		set := attribute.NewSet(append(m.where[:len(m.where):len(m.where)], what...)...)
		counter.Add(ctx, 1, metric.WithAttributeSet(set))
	}
}

// ObserveCertificate reports the time until the client certificate expires at each collection of
// the metrics, until Close. expiry reports false while there is no certificate.
func (t *Tracer) ObserveCertificate(expiry func() (time.Time, bool)) {
	if t == nil {
		return
	}
	t.expiry.Store(&expiry)
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
	all := metric.WithAttributeSet(attribute.NewSet(slices.Clone(m.where)...))
	registered, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		if at, ok := expiry(); ok {
			o.ObserveFloat64(gauge, time.Until(at).Seconds(), all)
		}
		return nil
	}, gauge)
	if err != nil {
		return err
	}
	m.register(registered)
	return nil
}
