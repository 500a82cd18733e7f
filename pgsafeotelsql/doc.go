// Package pgsafeotelsql leaves the spans and measurements of statements and transactions to
// github.com/XSAM/otelsql, for applications whose dashboards use its names. pgsafe still makes the
// spans and measurements of the pool and of dials. No statement has spans from both.
//
// In code:
//
//	db, err := pgsafe.Open(dsn, pgsafe.WithTelemetry(telemetry.WithLayer(pgsafeotelsql.Layer())))
//
// In a connection string, with pgsafe_telemetry=otelsql:
//
//	import _ "github.com/pgsafe/pgsafe/pgsafeotelsql"
//
// The package is a module of its own, so that only programs that import it link otelsql.
// docs/telemetry.md lists which of otelsql's defaults the layer corrects, and what the layer costs.
package pgsafeotelsql
