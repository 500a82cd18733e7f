package pgsafe

import (
	"context"
	"database/sql/driver"

	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
	"github.com/pgsafe/pgsafe/internal/telemetry/layer"
)

// setTelemetry applies the value of pgsafe_telemetry. An option outranks it. The error is a *DSNError if the program
// does not import the package of the layer.
func (o *options) setTelemetry(value string) error {
	switch {
	case value == "off":
		o.telemetry.Off = true
	case value == "otelsql" && !o.telemetry.Off && layer.LibraryOf(o.telemetry.Layer) == nil:
		l, linked := layer.Registered(value)
		if !linked {
			return refuse(CodeUnsupported, "pgsafe_telemetry", "otelsql is not linked into this program",
				`import _ "github.com/pgsafe/pgsafe/pgsafeotelsql"`)
		}
		o.telemetry.Layer = l
	}
	return nil
}

// poolGauges is Stats in the terms of telemetry.
func (c *Connector) poolGauges() tracing.Pool {
	s := c.Stats()
	return tracing.Pool{
		Used: int64(s.InUse), Idle: int64(s.Idle), Max: int64(s.Max),
		IdleMin: int64(c.profile.MinIdleConns), Pending: int64(s.Waiting),
	}
}

// commented puts in front of the arguments what adds the trace context to the text, if the application wants that.
func (c *Connector) commented(ctx context.Context, args []driver.NamedValue) []driver.NamedValue {
	if !c.comments {
		return args
	}
	return tracing.Commented(ctx, args)
}
