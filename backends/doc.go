// Package backends shows what an application on pgsafe looks like in real backends: its traces in
// Jaeger, its metrics in Prometheus. The application does what the guide says and no more: it sets
// OpenTelemetry's global providers and calls sql.Open.
//
// The tests need a Jaeger that takes minutes to build, so they are left out unless the build tag
// "backends" is given. scripts/backends.sh gets everything that is missing and runs them.
package backends
