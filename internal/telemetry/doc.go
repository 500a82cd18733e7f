// Package telemetry makes pgsafe's spans and measurements. The public package of the same name
// documents their names. Other packages import this one as tracing.
//
// A Tracer belongs to one pool. It is pgx's tracer of that pool's connections, and the pool reports
// to it what pgx cannot see: waits, uses, recoveries.
package telemetry
