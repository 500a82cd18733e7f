package telemetry

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
)

// Pool is a snapshot of a pool, for its gauges.
type Pool struct {
	Used, Idle int64 // connections in use, and idle
	Max        int64 // the cap, 0 for none
	IdleMin    int64 // the floor
	Pending    int64 // callers waiting for a connection
}

// metrics are the instruments of one pool.
type metrics struct {
	duration   metric.Float64Histogram
	rows       metric.Int64Histogram
	createTime metric.Float64Histogram
	waitTime   metric.Float64Histogram
	useTime    metric.Float64Histogram
	timeouts   metric.Int64Counter

	failures    metric.Int64Counter
	failureTime metric.Float64Histogram
	recovery
	sessionMetrics

	meter metric.Meter
	where []attribute.KeyValue  // attributes of the pool's measurements
	pool  []metric.RecordOption // the same, ready to use
	add   []metric.AddOption    // the same, for counters

	mu         sync.Mutex // guards the fields below
	registered []metric.Registration
	closed     bool
}

// durationBounds are the conventions' for db.client.operation.duration, in seconds.
var durationBounds = metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)

// rowBounds are the conventions' for db.client.response.returned_rows.
var rowBounds = metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)

func newMetrics(meter metric.Meter, where []attribute.KeyValue) (*metrics, error) {
	set := metric.WithAttributeSet(attribute.NewSet(slices.Clone(where)...)) // NewSet sorts in place
	m := &metrics{meter: meter, where: where, pool: []metric.RecordOption{set}, add: []metric.AddOption{set}}
	duration, e1 := dbconv.NewClientOperationDuration(meter, durationBounds)
	rows, e2 := dbconv.NewClientResponseReturnedRows(meter, rowBounds)
	createTime, e3 := dbconv.NewClientConnectionCreateTime(meter, durationBounds)
	waitTime, e4 := dbconv.NewClientConnectionWaitTime(meter, durationBounds)
	useTime, e5 := dbconv.NewClientConnectionUseTime(meter, durationBounds)
	timeouts, e6 := dbconv.NewClientConnectionTimeouts(meter)
	recovery, e7 := newRecovery(meter)
	sessions, e8 := newSessionMetrics(meter)
	failures, e9 := meter.Int64Counter("pgsafe.connection.failures", metric.WithUnit("{failure}"),
		metric.WithDescription("The number of connections that could not be made."))
	failureTime, e10 := meter.Float64Histogram("pgsafe.connection.failure_time", metric.WithUnit("s"), durationBounds,
		metric.WithDescription("The time of connecting in vain."))
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10); err != nil {
		return nil, err
	}
	m.failures, m.failureTime = failures, failureTime
	m.recovery, m.sessionMetrics = recovery, sessions
	m.duration, m.rows = duration.Inst(), rows.Inst()
	m.createTime, m.waitTime, m.useTime = createTime.Inst(), waitTime.Inst(), useTime.Inst()
	m.timeouts = timeouts.Inst()
	return m, nil
}

// measureStatements reports whether an SDK wants the measurements of statements.
func (m *metrics) measureStatements(ctx context.Context) bool {
	return m.duration.Enabled(ctx) || m.rows.Enabled(ctx)
}

// statement measures a statement that has ended.
func (m *metrics) statement(ctx context.Context, r running, o outcome, rows rowCount) {
	if !m.measureStatements(ctx) {
		return
	}
	options := r.statement.measured.ok
	if o.failed() || o.canceled {
		options = r.statement.measured.ended(o)
	}
	m.duration.Record(ctx, r.took().Seconds(), options...)
	if rows.key == semconv.DBResponseReturnedRowsKey {
		m.rows.Record(ctx, rows.n, options...)
	}
}

func (m *metrics) created(ctx context.Context, d time.Duration) {
	m.createTime.Record(ctx, d.Seconds(), m.pool...)
}

func (m *metrics) waited(ctx context.Context, d time.Duration) {
	m.waitTime.Record(ctx, d.Seconds(), m.pool...)
}

func (m *metrics) used(ctx context.Context, d time.Duration) {
	m.useTime.Record(ctx, d.Seconds(), m.pool...)
}

func (m *metrics) timedOut(ctx context.Context) { m.timeouts.Add(ctx, 1, m.add...) }

// Observe reports the result of snapshot at each collection of the metrics, until Close. It must be
// called at most once. An error goes to otel.Handle.
func (t *Tracer) Observe(snapshot func() Pool) {
	if t == nil {
		return
	}
	if err := t.metrics.observe(snapshot); err != nil {
		otel.Handle(err)
	}
}

func (m *metrics) observe(snapshot func() Pool) error {
	count, e1 := dbconv.NewClientConnectionCountObservable(m.meter)
	limit, e2 := dbconv.NewClientConnectionMaxObservable(m.meter)
	idleMax, e3 := dbconv.NewClientConnectionIdleMaxObservable(m.meter)
	idleMin, e4 := dbconv.NewClientConnectionIdleMinObservable(m.meter)
	pending, e5 := dbconv.NewClientConnectionPendingRequestsObservable(m.meter)
	if err := errors.Join(e1, e2, e3, e4, e5); err != nil {
		return err
	}
	set := attribute.NewSet(slices.Clone(m.where)...)
	all := metric.WithAttributeSet(set)
	used, idle := m.inState(dbconv.ClientConnectionStateUsed), m.inState(dbconv.ClientConnectionStateIdle)
	registered, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		p := snapshot()
		o.ObserveInt64(count.Inst(), p.Used, used)
		o.ObserveInt64(count.Inst(), p.Idle, idle)
		o.ObserveInt64(pending.Inst(), p.Pending, all)
		o.ObserveInt64(idleMin.Inst(), p.IdleMin, all)
		if p.Max > 0 {
			o.ObserveInt64(limit.Inst(), p.Max, all)
			o.ObserveInt64(idleMax.Inst(), p.Max, all)
		}
		return nil
	}, count.Inst(), limit.Inst(), idleMax.Inst(), idleMin.Inst(), pending.Inst())
	if err != nil {
		return err
	}
	m.register(registered)
	return nil
}

func (m *metrics) inState(state dbconv.ClientConnectionStateAttr) metric.ObserveOption {
	attributes := slices.Concat(m.where, []attribute.KeyValue{semconv.DBClientConnectionStateKey.String(string(state))})
	return metric.WithAttributeSet(attribute.NewSet(attributes...))
}

// register leaves the end of r to close.
func (m *metrics) register(r metric.Registration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		unregister(r)
		return
	}
	m.registered = append(m.registered, r)
}

func (m *metrics) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, r := range m.registered {
		unregister(r)
	}
	m.registered = nil
}

func unregister(r metric.Registration) {
	if err := r.Unregister(); err != nil {
		otel.Handle(err)
	}
}
