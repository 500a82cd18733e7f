package telemetry

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"

	"github.com/pgsafe/pgsafe/internal/telemetry/options"
	"github.com/pgsafe/pgsafe/telemetry"
)

// Install returns the Tracer of a pool whose connections cc configures, and makes it the tracer of
// those connections, beside the application's own. It is nil if the application wants no telemetry.
// database is what the pool's name calls the database.
func Install(o options.Options, cc *pgx.ConnConfig, database string) *Tracer {
	if o.Off {
		return nil
	}
	if len(o.ServerTags) > 0 {
		cc.RuntimeParams["application_name"] = Tagged(cc.RuntimeParams["application_name"], o.ServerTags)
	}
	config := Config{
		TracerProvider: o.TracerProvider, MeterProvider: o.MeterProvider, Attributes: o.Attributes,
		QueryText: telemetry.QueryText(o.QueryText), Layer: o.Layer,
		Pool: o.PoolName, Host: cc.Host, Port: cc.Port, Database: database,
	}
	if o.QueryParameters {
		config.QueryParameters = QueryParametersShown
	}
	t := New(config)
	if cc.Tracer == nil {
		cc.Tracer = t
	} else {
		// Ours is first: tracers such as otelpgx end the span that they find in the context, and ours do not look there.
		cc.Tracer = multitracer.New(t, cc.Tracer)
	}
	return t
}
