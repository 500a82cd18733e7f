package pgsafe

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/background"
	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/dbsql"
	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pool"
	"github.com/pgsafe/pgsafe/internal/records"
	"github.com/pgsafe/pgsafe/internal/scope"
	"github.com/pgsafe/pgsafe/internal/serverconn"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
	"github.com/pgsafe/pgsafe/internal/urlfix"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// Connector is one parsed configuration and its pool of server connections. Give it to sql.OpenDB, once: a DB closes
// its Connector. It is safe for concurrent use. No connection is made before the first use.
type Connector struct {
	server   *libpq.Config
	profile  Profile
	logger   *slog.Logger
	opts     []Option
	comments bool

	pool     *pool.Pool
	home     *scope.Home // of sessions and transactions, nil with native connections
	dialer   *connect.Dialer
	canceler *canceler.Canceler // nil where pgx, or the application, cancels statements
	conns    serverconn.Config  // what server connections have in common
	texts    *serverconn.Texts  // of prepared statements
	uses     dbsql.Uses         // of handles
	ages     dbsql.Ages         // of handles
	tracer   *tracing.Tracer    // nil without telemetry
	records  records.Records
	work     *background.Group
	firstUse sync.Once

	inner driver.Connector // makes handles, or native connections
	layer driver.Connector // what Connect goes through: inner, perhaps in a layer of telemetry
}

var (
	_ driver.Connector = (*Connector)(nil)
	_ io.Closer        = (*Connector)(nil)
	_ slog.LogValuer   = (*Connector)(nil)
	_ fmt.Stringer     = (*Connector)(nil)
)

// NewConnector parses dsn, in any form that Normalize takes. The error is a *DSNError. The empty string means
// libpq's environment variables and defaults. No connection is made.
//
// Without connect_timeout, connecting to one address may take 10 s. Within that time, and the caller's, a connect is
// retried while the server starts or has no room, or while nothing answers where a server was before. Where there
// was none yet, it is retried for 3 s.
func NewConnector(dsn string, opts ...Option) (*Connector, error) {
	o := newOptions(opts)
	env := ""
	if o.profile == nil {
		env = os.Getenv(envProfile)
	}
	s, err := readSettings(dsn, o.dialect, env)
	if err != nil {
		return nil, err
	}
	if err := o.complete(s); err != nil {
		return nil, err
	}
	for _, w := range s.warnings {
		records.Warning(o.logger, w.Part, w.Text)
	}
	return newConnector(s.conn, o, opts)
}

// NewConnectorConfig makes a Connector from a configuration that the application built with pgx.ParseConfig, with a
// TLS configuration of its own, say. config is copied. Without WithProfile, PGSAFE_PROFILE applies. The error is a
// *DSNError that names the setting at fault.
func NewConnectorConfig(config *pgx.ConnConfig, opts ...Option) (*Connector, error) {
	o := newOptions(opts)
	if o.profile == nil {
		p, err := profileOf(nil, os.Getenv(envProfile))
		if err != nil {
			return nil, err
		}
		o.profile = &p
	}
	return newConnector(&libpq.Config{Conn: config.Copy()}, o, opts)
}

// newConnector wires the parts together.
func newConnector(server *libpq.Config, o options, opts []Option) (*Connector, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Connector{
		server: server, profile: *o.profile, logger: o.logger, opts: opts, comments: o.telemetry.TraceComments,
		texts: serverconn.NewTexts(), work: background.New(),
	}
	c.tracer = tracing.Install(o.telemetry, server.Conn, c.name())
	c.records = records.Records{Logger: o.logger, Pool: c, Tracer: c.tracer}
	if o.cancels() {
		c.canceler = canceler.New(o.cancelLimit())
		c.canceler.OnRequest = func(err error) { c.records.Canceled(err, c.dialer.Redact) }
	}
	c.conns = c.connConfig(o)
	c.dialer = connect.New(c.dialOptions(o))
	c.pool = pool.New(c.poolConfig())
	if o.native {
		c.inner = nativeConnector{c}
	} else {
		c.home = &scope.Home{Pool: c.pool, Tracer: c.tracer, Logger: c.logger, LogPool: c, Acquire: c.acquire}
		c.inner = handleConnector{c}
	}
	layer, err := c.tracer.Wrap(c.inner)
	c.layer = layer
	return c, err
}

// connConfig is what server connections have in common.
func (c *Connector) connConfig(o options) serverconn.Config {
	return serverconn.Config{
		Reset: serverconn.Reset(c.profile.Reset), PingAfter: c.profile.pingAfter(), PingTimeout: c.profile.pingTimeout(),
		CancelTimeout: o.cancelLimit(), Cancels: c.canceler != nil,
		Effects: serverconn.NewEffectsCache(), Shapes: serverconn.NewShapeCache(), InUse: new(serverconn.InUse),
		Tracer:  c.tracer,
		OnReset: c.records.Reset, OnUnbegun: func() { c.records.Recovered(records.Statement) },
		OnExpired: func() { c.records.Recovered(records.Certificate) },
	}
}

// dialOptions says how connections are made.
func (c *Connector) dialOptions(o options) connect.Options {
	return connect.Options{
		Server: c.server, Logger: c.logger, LogPool: c, KeepExecMode: o.modeGiven,
		Password: o.password, BeforeConnect: o.beforeConnect, AfterConnect: o.afterConnect,
		Prepare:              func(_ context.Context, cc *pgx.ConnConfig) { c.watch(cc, o) },
		OnServerError:        c.records.ServerError,
		OnCertificateExpired: func() { c.pool.RetireExpired() },
	}
}

// watch puts cancellation, the proof that a statement never began, and telemetry into one connection's configuration.
// The Tracer is there already, unless the application has replaced it for this connection.
func (c *Connector) watch(cc *pgx.ConnConfig, o options) {
	if o.native {
		cc.Tracer = serverconn.Refusing(cc.Tracer)
	}
	if c.canceler != nil {
		c.canceler.Watch(&cc.Config)
	}
	wire.Watch(&cc.Config)
	c.tracer.Watch(&cc.Config)
}

// poolConfig is the profile in the pool's terms.
func (c *Connector) poolConfig() pool.Config {
	p := c.profile
	return pool.Config{
		Dial: c.dial, Patience: c.dialer.Patience,
		OnRelease: c.tracer.Used, OnRenew: c.records.Renewed, OnReconnect: func() { c.records.Recovered(records.Reconnect) },
		Max: int(p.MaxConns), MinIdle: int(p.MinIdleConns), AcquireTimeout: p.AcquireTimeout,
		SlowDial:    c.dialer.SlowAfter(),
		MaxLifetime: p.maxConnLifetime(), LifetimeJitter: p.MaxConnLifetimeJitter, MaxIdleTime: p.maxConnIdleTime(),
		CheckPeriod: p.healthCheckPeriod(),
	}
}

// dial makes one server connection.
func (c *Connector) dial(ctx context.Context, why pool.Dial) (_ pool.Server, err error) {
	ctx = c.tracer.Dialing(ctx, why.Attempt, why.Reason.String())
	defer func() { c.records.Dialed(ctx, err, c.dialer.Reason(err)) }()
	made, err := c.dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	facts := serverconn.Facts{
		Pooled: made.Pooled, Nameless: made.Nameless, Hooked: made.Hooked, Expires: made.CertificateExpires,
	}
	conn, err := serverconn.New(ctx, made.Conn, facts, &c.conns)
	if err != nil {
		_ = made.Conn.Close() // why it is of no use is in err
		return nil, err
	}
	return conn, nil
}

// Connect returns a new handle, a *Conn (pgx's *stdlib.Conn with WithNativeConn). If the pool has no connection at all,
// it makes one first, so that its error is why none can be made. That error keeps its SQLSTATE (errors.As to
// *pgconn.PgError) and holds no secret.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	c.uses.Connected()
	return c.layer.Connect(ctx)
}

// handleConnector makes handles.
type handleConnector struct{ *Connector }

// Connect returns a handle without a connection. It binds none: database/sql also calls it from a goroutine of its
// own, for callers that may have gone, with a context that is not theirs (DB.connectionOpener).
func (h handleConnector) Connect(ctx context.Context) (driver.Conn, error) {
	h.firstUse.Do(h.begin)
	waited, err := h.ensure(ctx)
	if err != nil {
		return nil, err
	}
	return &Conn{
		connector: h.Connector, inherits: ctxsettings.Of(ctx), place: h.home.NewPlace(ctx), born: time.Now(), waited: waited,
	}, nil
}

// ensure makes sure that the pool has a connection. It returns how long it waited for one.
func (c *Connector) ensure(ctx context.Context) (waited time.Duration, err error) {
	if !c.pool.Empty() {
		return 0, nil
	}
	began := time.Now()
	if err := c.pool.Ensure(ctx); err != nil {
		return 0, c.unserved(ctx, "", 0, err)
	}
	return time.Since(began), nil
}

// warmUpTimeout bounds the profile's warm-up.
const warmUpTimeout = time.Minute

// begin does what is due at the first use: the pool is observed, and the profile's connections are opened.
func (c *Connector) begin() {
	c.tracer.Observe(c.poolGauges)
	c.tracer.ObserveCertificate(c.dialer.Expiry)
	if c.profile.WarmUp == 0 {
		return
	}
	c.work.Go(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, warmUpTimeout)
		defer cancel()
		if err := c.WarmUp(ctx, int(c.profile.WarmUp)); err != nil && c.work.Context().Err() == nil {
			c.logger.Warn("pgsafe: warm-up failed", "pool", c, "error", err)
		}
	})
}

// WarmUp opens connections, all at once, until the pool has n, in use or idle. The first failure ends it and is its
// error. n above the cap is an error. Connections that the pool has already, or that callers open meanwhile, count.
func (c *Connector) WarmUp(ctx context.Context, n int) error {
	if err := c.pool.WarmUp(ctx, n); err != nil {
		return c.acquireError(ctx, err)
	}
	return nil
}

// Driver returns a driver that opens other strings with the same options. ConnectorOf finds the Connector by it.
// Each call returns another value: see ConnectorOf.
func (c *Connector) Driver() driver.Driver { return &connectorDriver{Driver{opts: c.opts}, c} }

// Close closes the pool and ends what runs in the background. A connection in use closes when it comes back. One that
// does not come back within five seconds, because its rows were forgotten, say, is cut off as soon as the server does
// no work for it. database/sql calls Close from DB.Close. A second call does nothing. The error is always nil.
func (c *Connector) Close() error {
	c.pool.Close()
	c.work.Close()
	c.dialer.Close()
	if c.canceler != nil {
		c.canceler.Close()
	}
	c.tracer.Close()
	return nil
}

// name is what messages call the pool: its database.
func (c *Connector) name() string {
	if cc := c.server.Conn; cc.Database == "" {
		return urlfix.ShownUser(cc.User)
	}
	return c.server.Conn.Database
}

// String returns user, host, port and database: enough to know the pool by, and no secret.
func (c *Connector) String() string {
	cc := c.server.Conn
	return fmt.Sprintf("pgsafe.Connector(%s@%s/%s)", urlfix.ShownUser(cc.User), c.address(), cc.Database)
}

// GoString is String, so that %#v shows no secret either.
func (c *Connector) GoString() string { return c.String() }

// MarshalJSON is String, so that encoding a struct that holds a Connector shows no secret.
func (c *Connector) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, c.String()), nil }

// LogValue is the same for log/slog, as a group.
func (c *Connector) LogValue() slog.Value {
	cc := c.server.Conn
	return slog.GroupValue(
		slog.String("user", urlfix.ShownUser(cc.User)), slog.String("address", c.address()),
		slog.String("database", cc.Database),
		slog.Int("max_conns", int(c.profile.MaxConns)),
	)
}

func (c *Connector) address() string {
	cc := c.server.Conn
	return net.JoinHostPort(cc.Host, strconv.Itoa(int(cc.Port)))
}
