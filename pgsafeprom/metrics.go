package pgsafeprom

import (
	"database/sql"
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgsafe/pgsafe"
)

// snapshot is what the metrics are made of.
type snapshot struct {
	pool    pgsafe.Stats
	handles sql.DBStats
}

// metric is one time series.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(snapshot) float64
}

// list collects metrics with common labels.
type list struct {
	labels  prometheus.Labels
	metrics []metric
}

func (l *list) gauge(name, help string, value func(snapshot) float64) {
	l.add(prometheus.GaugeValue, name, help, l.labels, value)
}

func (l *list) counter(name, help string, value func(snapshot) float64) {
	l.add(prometheus.CounterValue, name, help, l.labels, value)
}

func (l *list) add(
	kind prometheus.ValueType, name, help string, labels prometheus.Labels, value func(snapshot) float64,
) {
	l.metrics = append(l.metrics, metric{prometheus.NewDesc(name, help, nil, labels), kind, value})
}

// with returns the common labels and one more.
func (l *list) with(label, value string) prometheus.Labels {
	labels := maps.Clone(l.labels)
	labels[label] = value
	return labels
}

func newMetrics(labels prometheus.Labels) []metric {
	l := &list{labels: labels}
	l.compatible()
	l.own()
	return l.metrics
}

// compatible adds metrics with the names of client_golang's collector (collectors/dbstats_collector.go,
// NewDBStatsCollector).
func (l *list) compatible() {
	l.gauge("go_sql_max_open_connections", "Maximum number of open connections to the database.",
		func(s snapshot) float64 { return float64(limit(s)) })
	l.gauge("go_sql_open_connections", "The number of established connections both in use and idle.",
		func(s snapshot) float64 { return float64(s.pool.InUse + s.pool.Idle) })
	l.gauge("go_sql_in_use_connections", "The number of connections currently in use.",
		func(s snapshot) float64 { return float64(s.pool.InUse) })
	l.gauge("go_sql_idle_connections", "The number of idle connections.",
		func(s snapshot) float64 { return float64(s.pool.Idle) })
	l.counter("go_sql_wait_count_total", "The total number of connections waited for.",
		func(s snapshot) float64 { return float64(s.pool.Waited + s.handles.WaitCount) })
	l.counter("go_sql_wait_duration_seconds_total", "The total time blocked waiting for a new connection.",
		func(s snapshot) float64 { return (s.pool.WaitTime + s.handles.WaitDuration).Seconds() })
	l.counter("go_sql_max_idle_closed_total", "The total number of connections closed because too many were idle.",
		func(snapshot) float64 { return 0 })
	l.counter("go_sql_max_idle_time_closed_total", "The total number of connections closed for being idle too long.",
		func(s snapshot) float64 { return float64(s.pool.ClosedForIdle) })
	l.counter("go_sql_max_lifetime_closed_total", "The total number of connections closed for their age.",
		func(s snapshot) float64 { return float64(s.pool.ClosedForAge) })
}

// limit returns how many connections there can be, 0 for any number.
func limit(s snapshot) int {
	if s.pool.Max == 0 || s.handles.MaxOpenConnections == 0 {
		return max(s.pool.Max, s.handles.MaxOpenConnections)
	}
	return min(s.pool.Max, s.handles.MaxOpenConnections)
}

// own adds metrics that client_golang's collector does not have.
func (l *list) own() {
	const connections, connectionsHelp = "pgsafe_pool_connections", "Connections of the pool by state."
	l.add(prometheus.GaugeValue, connections, connectionsHelp, l.with("state", "in_use"),
		func(s snapshot) float64 { return float64(s.pool.InUse) })
	l.add(prometheus.GaugeValue, connections, connectionsHelp, l.with("state", "idle"),
		func(s snapshot) float64 { return float64(s.pool.Idle) })
	l.add(prometheus.GaugeValue, connections, connectionsHelp, l.with("state", "connecting"),
		func(s snapshot) float64 { return float64(s.pool.Connecting) })
	l.gauge("pgsafe_pool_max_connections", "The pool's cap, 0 for none.",
		func(s snapshot) float64 { return float64(s.pool.Max) })
	l.gauge("pgsafe_pool_waiting_callers", "Callers that wait for a connection now.",
		func(s snapshot) float64 { return float64(s.pool.Waiting) })
	l.counter("pgsafe_pool_acquires_total", "Times that a caller asked for a connection.",
		func(s snapshot) float64 { return float64(s.pool.Acquired) })
	l.counter("pgsafe_pool_waits_total", "Times that a caller waited for a connection.",
		func(s snapshot) float64 { return float64(s.pool.Waited) })
	l.counter("pgsafe_pool_wait_seconds_total", "The time that callers waited for connections.",
		func(s snapshot) float64 { return s.pool.WaitTime.Seconds() })
	l.counter("pgsafe_pool_dials_total", "Dials begun.",
		func(s snapshot) float64 { return float64(s.pool.Opened) })
	l.counter("pgsafe_pool_dial_failures_total", "Dials that failed, and connections that ended before their first use.",
		func(s snapshot) float64 { return float64(s.pool.Failed) })
	const closed, closedHelp = "pgsafe_pool_closed_connections_total", "Connections that the pool closed, by reason."
	l.add(prometheus.CounterValue, closed, closedHelp, l.with("reason", "idle"),
		func(s snapshot) float64 { return float64(s.pool.ClosedForIdle) })
	l.add(prometheus.CounterValue, closed, closedHelp, l.with("reason", "age"),
		func(s snapshot) float64 { return float64(s.pool.ClosedForAge) })
	l.counter("pgsafe_handle_waits_total", "Waits inside database/sql.",
		func(s snapshot) float64 { return float64(s.handles.WaitCount) })
	l.counter("pgsafe_handle_wait_seconds_total", "The time of waits inside database/sql.",
		func(s snapshot) float64 { return s.handles.WaitDuration.Seconds() })
}
