package pgsafe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/guard"
	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/sqltext"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// ErrClosed is returned, possibly wrapped, when a connection is asked of a Connector after its Close.
var ErrClosed = errors.New("pgsafe: connector is closed")

// Connector is one parsed configuration and the one physical pool that belongs to it. The pool is made at the
// first use. Give it to sql.OpenDB, once: a DB closes its Connector. It is safe for concurrent use.
type Connector struct {
	config   *pgxpool.Config
	conn     *libpq.Config
	profile  Profile
	native   bool
	logger   *slog.Logger
	scrub    *scrubber
	tracer   *tracing.Tracer // nil without telemetry
	comments bool

	observeDB    func(*sql.DB) // what telemetry wants of a DB whose Connector this is
	brokenAt     atomic.Int64  // when a connection was last found broken, in Unix nanoseconds
	generation   atomic.Uint64 // of the connections, see recovery.go
	census       census
	wantsPrimary bool        // target_session_attrs is primary or read-write
	wantsWrites  bool        // it is read-write
	connected    atomic.Bool // at least once

	lot          *parkingLot
	attempts     *attempts
	poolers      *poolers
	certificates *certificates
	sparing      map[recovery]*sparing    // of records, by what they are about
	residues     *sqltext.Cache[*residue] // of texts of statements, nil for those that leave nothing
	shared       atomic.Bool              // native code may use the pool too
	canceler     *guard.Canceler          // nil where pgx cancels statements
	patience     time.Duration            // how long a statement may take to end once its context has
	driver       *Driver

	ctx    context.Context // ends with Close, for work in the background
	cancel context.CancelFunc
	work   sync.WaitGroup // that work

	mu        sync.Mutex // guards the making and closing of the pool
	pool      atomic.Pointer[pgxpool.Pool]
	closed    bool
	refilling bool // the pool's floor is being filled up

	leases driver.Connector // pgx's, over the pool; set with pool
	layer  driver.Connector // what Connect goes through
}

var (
	_ driver.Connector = (*Connector)(nil)
	_ io.Closer        = (*Connector)(nil)
	_ slog.LogValuer   = (*Connector)(nil)
	_ fmt.Stringer     = (*Connector)(nil)
	_ fmt.GoStringer   = (*Connector)(nil)
)

// NewConnector parses dsn, in any form that Normalize takes. The error is a *DSNError. The empty string means
// libpq's environment variables and defaults. No connection is made. Without connect_timeout, connecting to one
// address may take 10 s. Within that time, and the caller's, it is tried again while the server starts or has no room, or
// while nobody answers where a server was before; where there was none yet, for 3 s.
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
	o.native = o.native || s.native
	o.modeGiven = s.modeGiven
	if err := o.setTelemetry(s.telemetry); err != nil {
		return nil, err
	}
	if o.cancelTimeout == nil {
		o.cancelTimeout = s.cancels
	}
	if o.profile == nil {
		o.profile = &s.profile
	}
	for _, w := range s.warnings {
		o.logger.Warn("pgsafe: connection string", "part", w.Part, "warning", w.Text)
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

func newConnector(conn *libpq.Config, o options, opts []Option) (*Connector, error) {
	if err := o.profile.validate(); err != nil {
		return nil, err
	}
	config, err := poolConfig(conn.Conn, *o.profile)
	if err != nil {
		return nil, err
	}
	c := &Connector{
		config:  config,
		conn:    conn,
		profile: *o.profile,
		native:  o.native,
		logger:  o.logger,
		scrub:   newScrubber(conn.Conn),
		lot:     &parkingLot{},
	}
	c.attempts = newAttempts(&conn.Conn.Config)
	c.wantsPrimary, c.wantsWrites = wanted(&conn.Conn.Config)
	c.driver = &Driver{opts: opts, connector: c}
	c.poolers = &poolers{modeGiven: o.modeGiven, onFound: c.foundPooler}
	c.certificates = &certificates{onExpired: c.drainExpired, onDue: c.certificateDue}
	c.sparing = newSparing()
	c.residues = sqltext.NewCache(residueLimit, newResidue)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.cancelWithin(o.cancelTimeout); err != nil {
		return nil, err
	}
	if c.native {
		config.MaxConns = noCap // a bare connection cannot yield, so a hard cap could starve waiters
	}
	if config.MaxConns < noCap {
		c.lot.saturated = c.saturated
		c.lot.max = int(config.MaxConns)
	}
	if err := c.trace(o); err != nil {
		return nil, err
	}
	c.hook(o)
	return c, nil
}

// hook puts pgsafe and the application's functions into the way of each physical connection.
func (c *Connector) hook(o options) {
	c.conn.OnPassword = c.scrub.learn
	c.conn.OnUnusable = c.filesUnusable
	app := c.config.ConnConfig.Tracer
	c.config.ConnConfig.Tracer = newPoolTracer(c.lot, app, c.tracer)
	c.config.ShouldPing = c.shouldPingPooled
	c.config.PrepareConn = c.preparePooled
	c.config.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		c.lot.rebalance() // a place in the pool was taken
		if err := c.stagger(ctx); err != nil {
			return err
		}
		if err := c.attempts.begin(ctx); err != nil {
			return err
		}
		cc.Tracer = c.connTracer(app)
		err := c.prepareConnect(ctx, cc, o)
		if err != nil {
			c.attempts.failed(ctx)
		}
		return err
	}
	c.config.BeforeClose = c.closing
	c.config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		c.connected.Store(true)
		ph := newPhysical(conn, c.config, c.generation.Load())
		c.endWithCertificate(ph)
		c.census.add(ph.generation)
		if err := afterConnect(ctx, ph, o.afterConnect); err != nil {
			c.closing(conn) // pgxpool does not call BeforeClose here
			c.attempts.failed(ctx)
			return err
		}
		c.attempts.succeeded(ctx)
		return nil
	}
}

// prepareConnect completes the configuration that one connection is made with.
func (c *Connector) prepareConnect(ctx context.Context, cc *pgx.ConnConfig, o options) error {
	c.conn.Prepare(cc)
	if err := c.askPassword(ctx, cc, o.password); err != nil {
		return err
	}
	if err := c.beforeConnect(ctx, cc, o.beforeConnect); err != nil {
		return err
	}
	if o.password == nil {
		c.conn.Settle(cc)
	}
	cc.Tracer = &connecting{poolers: c.poolers, attempts: c.attempts, next: cc.Tracer}
	c.certify(cc)
	if c.canceler != nil {
		c.canceler.Watch(&cc.Config)
	}
	c.watchErrors(&cc.Config)
	guard.Watch(&cc.Config)
	c.attempts.watch(ctx, &cc.Config)
	c.watch(cc)
	return nil
}

// afterConnect calls the application's function, which may be nil.
func afterConnect(ctx context.Context, ph *physical, f func(context.Context, *pgx.Conn) error) error {
	if f == nil {
		return nil
	}
	if err := f(ctx, ph.conn); err != nil {
		return hookFailed(err)
	}
	return ph.keepBaseline(ctx)
}

// closing is told of each connection before it is closed.
func (c *Connector) closing(conn *pgx.Conn) {
	ph := physicalOf(conn)
	c.census.remove(ph.generation)
	if !ph.certified.IsZero() && time.Now().After(ph.certified) {
		c.recovered(recoveredCertificate)
	}
	c.tracer.ConnClosing(conn)
}

// beforeConnect calls the application's function, which may be nil.
func (c *Connector) beforeConnect(ctx context.Context, cc *pgx.ConnConfig, f func(context.Context, *pgx.ConnConfig) error) error {
	if f == nil {
		return nil
	}
	err := f(ctx, cc)
	if cc.Password != c.config.ConnConfig.Password {
		c.scrub.learn(cc.Password)
	}
	return hookFailed(err)
}

func (c *Connector) saturated() bool {
	pool := c.pool.Load()
	if pool == nil {
		return false
	}
	s := pool.Stat()
	return s.AcquiredConns()+s.ConstructingConns() >= s.MaxConns()
}

// open returns the pool, making it if need be.
func (c *Connector) open() (*pgxpool.Pool, error) {
	if pool := c.pool.Load(); pool != nil {
		return pool, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if pool := c.pool.Load(); pool != nil {
		return pool, nil
	}
	pool, err := pgxpool.NewWithConfig(c.ctx, c.config)
	if err != nil {
		return nil, fmt.Errorf("pgsafe: make the pool: %w", err)
	}
	c.leases = stdlib.GetPoolConnector(pool, stdlib.OptionShouldPing(c.shouldPing), stdlib.OptionResetSession(refuseSettings))
	c.pool.Store(pool)
	c.warmUpInBackground(pool)
	return pool, nil
}

// Connect returns a lease on a physical connection, a *Conn (pgx's *stdlib.Conn with WithNativeConn), waiting for
// one if the pool is at its cap. Closing the lease gives the connection back to the pool.
//
// The error is an *AcquireError if none could be had in time; it is errors.Is(err, ctx.Err()) if the caller's
// context ended. An error of connecting keeps its SQLSTATE (errors.As to *pgconn.PgError) and holds no secret.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	return c.layer.Connect(ctx)
}

// connect is Connect without the layer of telemetry that may be around it.
func (c *Connector) connect(ctx context.Context) (driver.Conn, error) {
	if c.native && ctxsettings.Of(ctx) != nil {
		return nil, errNativeSettings
	}
	std, err := c.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if c.native {
		return std, nil
	}
	lease := &Conn{stdConn: std, connector: c, phys: physicalOf(std.Conn()), born: time.Now(), inherits: ctxsettings.Of(ctx)}
	c.lot.lend(lease.phys, lease)
	return lease, nil
}

// acquire takes a connection out of the pool.
func (c *Connector) acquire(ctx context.Context) (*stdConn, error) {
	if _, err := c.open(); err != nil {
		return nil, err
	}
	waitCtx := c.forLease(ctx)
	if d := c.profile.AcquireTimeout; d > 0 {
		var cancel context.CancelFunc
		waitCtx, cancel = context.WithTimeout(waitCtx, d)
		defer cancel()
	}
	std, poolCtx, err := c.fromLine(waitCtx)
	if std != nil {
		return std, nil
	}
	var conn driver.Conn
	if err == nil {
		conn, err = connectWithin(poolCtx, c, c.leases.Connect)
	}
	if err != nil {
		return nil, c.acquireError(ctx, waitCtx, err)
	}
	return conn.(*stdConn), nil
}

// acquireError tells a wait that was too long from a failure to connect.
func (c *Connector) acquireError(ctx, waitCtx context.Context, err error) error {
	if waitCtx.Err() == nil || !errors.Is(err, waitCtx.Err()) {
		return givenUp(ctx, c.connectError(err))
	}
	o, s := c.lot.occupancy(), c.pool.Load().Stat()
	return &AcquireError{
		Pool:        c.name(),
		InUse:       o.held,
		Max:         int(c.profile.MaxConns),
		Connecting:  int(s.ConstructingConns()),
		Waiting:     o.acquiring + 1,
		LongestHold: o.longest,
		cause:       ctx.Err(),
	}
}

// Driver returns a Driver that knows this Connector, see ConnectorOf, and opens others with the same options.
func (c *Connector) Driver() driver.Driver {
	return c.driver
}

// ConnectorOf returns the Connector behind db. It reports false if db was not opened through pgsafe, or if another
// driver is wrapped around it.
func ConnectorOf(db *sql.DB) (*Connector, bool) {
	d, ok := db.Driver().(*Driver)
	if !ok || d.connector == nil {
		return nil, false
	}
	return d.connector, true
}

// Pool returns the physical pool, for code that uses pgx natively. Its cap, its queue and its connections are those
// of the *sql.DB. It belongs to the Connector: do not close it, and do not Hijack its connections, which the pool is
// not told about and goes on to count as in use. After Close its Acquire fails. Its connections come without settings of
// any context (session.WithSettings), that of the caller included; what native code sets on them it has to undo.
//
// Its Config().ConnConfig is not all that a connection is made with: with several servers, passwords of a password
// file and the order of load_balance_hosts are added for each connection, as is what WithBeforeConnect does. Do not
// connect with it by other means.
func (c *Connector) Pool() *pgxpool.Pool {
	c.shared.Store(true)
	pool, err := c.open()
	if err == nil {
		return pool
	}
	if pool := c.pool.Load(); pool != nil {
		return pool
	}
	return c.closedPool()
}

// closedPool makes a pool that was never used and can never be.
func (c *Connector) closedPool() *pgxpool.Pool {
	config := c.config.Copy()
	config.MinConns = 0
	pool, err := pgxpool.NewWithConfig(c.ctx, config)
	if err != nil {
		panic("pgsafe: " + err.Error()) // it errs only on MaxConns below one, which newConnector rules out
	}
	pool.Close()
	return pool
}

// Close closes the pool and ends what runs in the background. It returns without waiting for connections in use:
// each of those closes when it comes back. database/sql calls it from DB.Close; a second call does nothing. The
// error is always nil.
func (c *Connector) Close() error {
	c.mu.Lock()
	alreadyClosed := c.closed
	c.closed = true
	c.mu.Unlock()
	if alreadyClosed {
		return nil
	}
	c.cancel()
	c.certificates.close()
	c.work.Wait()
	if c.canceler != nil {
		c.canceler.Close()
	}
	c.lot.close()
	if pool := c.pool.Load(); pool != nil {
		closePool(pool)
	}
	c.tracer.Close()
	return nil
}

// closeWait bounds how long Close waits for idle connections to say goodbye to a server that does not listen. It is
// what pgx's own driver allows one connection (stdlib.Conn.Close).
const closeWait = 5 * time.Second

// closePool closes idle connections before it returns, and lets go of those in use: pgxpool.Pool.Close would wait
// for them. The goroutine ends when the last of them is back.
func closePool(pool *pgxpool.Pool) {
	inUse := pool.Stat().AcquiredConns() > 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		pool.Close()
	}()
	if inUse {
		return
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// name is what messages call the pool: its database.
func (c *Connector) name() string {
	cc := c.config.ConnConfig
	if cc.Database != "" {
		return cc.Database
	}
	return cc.User
}

// String tells user, host, port and database: enough to know the pool by, and no secret.
func (c *Connector) String() string {
	cc := c.config.ConnConfig
	return fmt.Sprintf("pgsafe.Connector(%s@%s/%s)", cc.User, c.address(), cc.Database)
}

// GoString is String, so that %#v shows no secret either.
func (c *Connector) GoString() string { return c.String() }

// MarshalJSON is String, so that encoding a struct that holds a Connector shows no secret.
func (c *Connector) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, c.String()), nil }

// LogValue is the same for log/slog, as a group.
func (c *Connector) LogValue() slog.Value {
	cc := c.config.ConnConfig
	return slog.GroupValue(
		slog.String("user", cc.User), slog.String("address", c.address()), slog.String("database", cc.Database),
		slog.Int("max_conns", int(c.profile.MaxConns)),
	)
}

func (c *Connector) address() string {
	cc := c.config.ConnConfig
	return net.JoinHostPort(cc.Host, strconv.Itoa(int(cc.Port)))
}
