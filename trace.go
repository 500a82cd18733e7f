package pgsafe

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"

	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
	"github.com/pgsafe/pgsafe/internal/telemetry/layer"
)

// setTelemetry applies the value of pgsafe_telemetry. An option outranks it. The error is a
// *DSNError if the program does not import the package of the layer.
func (o *options) setTelemetry(value string) error {
	switch {
	case value == "off":
		o.untold = true
	case value == "otelsql" && !o.untold && layer.LibraryOf(o.telemetry.Layer) == nil:
		l, linked := layer.Registered(value)
		if !linked {
			return driverError(CodeUnsupported, "pgsafe_telemetry", "otelsql is not linked into this program",
				`import _ "github.com/pgsafe/pgsafe/pgsafeotelsql"`)
		}
		o.telemetry.Layer = l
	}
	return nil
}

// trace sets up the telemetry.
func (c *Connector) trace(o options) error {
	c.layer, c.observeDB = innerConnector{c}, func(*sql.DB) {}
	if o.untold {
		return nil
	}
	cc := c.config.ConnConfig
	config := o.telemetry
	config.Host, config.Port, config.Database = cc.Host, cc.Port, c.name()
	if len(o.tags) > 0 {
		cc.RuntimeParams["application_name"] = tracing.Tagged(cc.RuntimeParams["application_name"], o.tags)
	}
	c.tracer = tracing.New(config)
	c.comments = o.comments
	c.lot.used = c.tracer.Used
	c.tracer.Observe(c.poolGauges)
	c.tracer.ObserveCertificate(c.certificates.expiry)
	c.observeDB = func(db *sql.DB) { c.tracer.ObserveDB(db) }
	var err error
	c.layer, err = c.tracer.Wrap(c.layer)
	return err
}

// poolGauges is Stats as telemetry wants it.
func (c *Connector) poolGauges() tracing.Pool {
	s := c.Stats()
	return tracing.Pool{
		Used: int64(s.InUse), Idle: int64(s.Idle), Max: int64(s.Max),
		IdleMin: int64(c.profile.MinIdleConns), Pending: int64(s.Waiting),
	}
}

// connTracer is the tracer of connections: the application's, ours, or both.
func (c *Connector) connTracer(app pgx.QueryTracer) pgx.QueryTracer {
	if c.native {
		return refusing(c.ownTracer(app))
	}
	return c.ownTracer(app)
}

func (c *Connector) ownTracer(app pgx.QueryTracer) pgx.QueryTracer {
	switch {
	case c.tracer == nil:
		return app
	case app == nil:
		return c.tracer
	}
	// Ours is first: tracers such as otelpgx end the span that they find in the context, and ours do not look there.
	return multitracer.New(c.tracer, app)
}

// watch makes the steps of one connect visible.
func (c *Connector) watch(config *pgx.ConnConfig) {
	c.tracer.Watch(&config.Config)
}

// commented puts in front of the arguments what adds the trace context to the text, if the application wants that.
func (c *Connector) commented(ctx context.Context, args []driver.NamedValue) []driver.NamedValue {
	if !c.comments {
		return args
	}
	return tracing.Commented(ctx, args)
}

// innerConnector is the Connector without its layer, for the layer to wrap.
type innerConnector struct{ connector *Connector }

func (i innerConnector) Connect(ctx context.Context) (driver.Conn, error) {
	return i.connector.connect(ctx)
}

func (i innerConnector) Driver() driver.Driver { return i.connector.driver }
