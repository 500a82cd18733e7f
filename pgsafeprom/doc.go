// Package pgsafeprom reports the statistics of a pool to Prometheus, for programs that use its
// client and not OpenTelemetry:
//
//	c, err := pgsafeprom.NewCollector(db, "orders")
//	if err != nil { ... }
//	prometheus.MustRegister(c)
//
// It replaces client_golang's collectors.NewDBStatsCollector, which shows the handles of
// database/sql: pgsafe's handles have no connection while they are idle, and a caller that waits for
// the pool does not wait in database/sql. So that collector shows no wait, and too many connections.
//
// Metrics with the names of that collector, for dashboards that exist, and what they mean here:
//
//	go_sql_max_open_connections            gauge    the smaller one of the pool's cap and SetMaxOpenConns, 0 for none
//	go_sql_open_connections                gauge    connections that the server has, in use and idle
//	go_sql_in_use_connections              gauge    connections in use, or being reset
//	go_sql_idle_connections                gauge    idle connections
//	go_sql_wait_count_total                counter  waits for the pool, and for a handle
//	go_sql_wait_duration_seconds_total     counter  the time of those waits
//	go_sql_max_idle_closed_total           counter  0: a pool closes no connection because too many are idle
//	go_sql_max_idle_time_closed_total      counter  connections closed for being idle too long
//	go_sql_max_lifetime_closed_total       counter  connections closed for their age
//
// Metrics that those do not have:
//
//	pgsafe_pool_connections                gauge    by state: in_use, idle, connecting
//	pgsafe_pool_max_connections            gauge    the pool's cap, 0 for none
//	pgsafe_pool_waiting_callers            gauge    callers that wait for a connection now
//	pgsafe_pool_acquires_total             counter  times that a caller asked for a connection
//	pgsafe_pool_waits_total                counter  times that a caller waited for one
//	pgsafe_pool_wait_seconds_total         counter  the time of those waits
//	pgsafe_pool_dials_total                counter  dials begun
//	pgsafe_pool_dial_failures_total        counter  dials that failed, and connections that ended before their first use
//	pgsafe_pool_closed_connections_total   counter  by reason: idle, age
//	pgsafe_handle_waits_total              counter  waits inside database/sql, which SetMaxOpenConns causes
//	pgsafe_handle_wait_seconds_total       counter  the time of those waits
//
// All have the label db_name. The package is a module of its own, so that only programs that import
// it link Prometheus' client. Statements, errors and their kinds are in OpenTelemetry's metrics only.
package pgsafeprom
