package telemetry

import "github.com/pgsafe/pgsafe/internal/telemetry/layer"

// Layer is another library that makes the spans and measurements of statements in place of pgsafe.
// Pass it to pgsafe.WithTelemetry. The zero value is no other library: pgsafe makes them itself.
//
// A package of its own makes each layer, so that a program links the library only if it imports
// that package. github.com/pgsafe/pgsafe/pgsafeotelsql makes the layer of
// github.com/XSAM/otelsql.
type Layer = layer.Layer
