package pgsafe

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"

	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
	"github.com/pgsafe/pgsafe/internal/telemetry/layer"
	"github.com/pgsafe/pgsafe/telemetry"
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

// newTracer returns the Tracer of a pool, nil without telemetry.
func (o *options) newTracer(cc *pgx.ConnConfig, database string) *tracing.Tracer {
	if o.telemetry.Off {
		return nil
	}
	t := o.telemetry
	if len(t.ServerTags) > 0 {
		cc.RuntimeParams["application_name"] = tracing.Tagged(cc.RuntimeParams["application_name"], t.ServerTags)
	}
	config := tracing.Config{
		TracerProvider: t.TracerProvider, MeterProvider: t.MeterProvider, Attributes: t.Attributes,
		QueryText: telemetry.QueryText(t.QueryText), Layer: t.Layer,
		Pool: t.PoolName, Host: cc.Host, Port: cc.Port, Database: database,
	}
	if t.QueryParameters {
		config.QueryParameters = tracing.QueryParametersShown
	}
	return tracing.New(config)
}

// tracers returns the tracer of connections: the application's own, pgsafe's, or both.
func tracers(app pgx.QueryTracer, ours *tracing.Tracer) pgx.QueryTracer {
	switch {
	case ours == nil:
		return app
	case app == nil:
		return ours
	}
	// Ours is first: tracers such as otelpgx end the span that they find in the context, and ours do not look there.
	return multitracer.New(ours, app)
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
