package connect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/redact"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// A Dialer makes the connections of one pool. It is safe for concurrent use. Create it with New.
type Dialer struct {
	options      Options
	target       target
	redactor     *redact.Redactor
	poolers      poolers
	certificates certificates
	connected    atomic.Bool // at least once
}

// New returns a Dialer. Its owner ends its timers with Close.
func New(o Options) *Dialer {
	d := &Dialer{
		options:  o,
		target:   targetOf(&o.Server.Conn.Config),
		redactor: redact.New(o.Server.Conn.Password),
	}
	if _, hidden, found := strings.Cut(o.Server.Conn.User, ":"); found {
		d.redactor.Learn(hidden) // a password, in the name of the user by mistake
	}
	d.poolers.onFound = d.logPooler
	d.certificates.onExpired = o.OnCertificateExpired
	d.certificates.onDue = d.logCertificate
	o.Server.OnPassword = d.redactor.Learn
	o.Server.OnUnusable = d.logUnusable
	return d
}

// Close stops the timers of certificates. Connections stay open.
func (d *Dialer) Close() { d.certificates.close() }

// Redact returns text without the passwords that connections were made with.
func (d *Dialer) Redact(text string) string { return d.redactor.Text(text) }

// Made is a new connection, and what is known of it.
type Made struct {
	Conn *stdlib.Conn

	// Pooled reports whether a pooler answers, which gives each transaction another server
	// connection.
	Pooled bool

	// Nameless reports whether statements are not prepared by name, because of the pooler.
	Nameless bool

	// Hooked reports whether a function of the application ran on the connection. It may have set
	// session state.
	Hooked bool

	// CertificateExpires is when the client certificate expires that the connection was made with:
	// zero without one, or with one that has expired, because the server did not ask for it then.
	CertificateExpires time.Time
}

// Dial makes one connection. The error holds secrets: only what Explain makes of it may be shown.
func (d *Dialer) Dial(ctx context.Context) (*Made, error) {
	config := d.options.Server.Conn.Copy()
	if err := d.Configure(ctx, config); err != nil {
		return nil, err
	}
	expires := d.noteCertificate(config)
	conn, err := stdlib.GetConnector(*config).Connect(ctx)
	if err != nil {
		return nil, err
	}
	made := &Made{Conn: conn.(*stdlib.Conn), CertificateExpires: expires}
	if err := d.finish(ctx, made); err != nil {
		_ = made.Conn.Close() // why it is of no use is in err
		return nil, err
	}
	return made, nil
}

// Configure completes a copy of Server.Conn for one connection. It calls the application's functions.
func (d *Dialer) Configure(ctx context.Context, config *pgx.ConnConfig) error {
	if err := d.configure(ctx, config); err != nil {
		return err
	}
	hooked := d.options.AfterConnect != nil || hasHooks(&config.Config)
	d.watchErrors(&config.Config)
	if d.options.Prepare != nil {
		d.options.Prepare(ctx, config)
	}
	catchCopy(config, hooked)
	return nil
}

// configure completes the configuration of one connection. It calls the application's functions.
func (d *Dialer) configure(ctx context.Context, config *pgx.ConnConfig) error {
	d.options.Server.Prepare(config)
	if err := d.askPassword(ctx, config); err != nil {
		return err
	}
	if err := d.beforeConnect(ctx, config); err != nil {
		return err
	}
	if d.options.Password == nil {
		d.options.Server.Settle(config)
	}
	return nil
}

// errNotConfigured is why Finish refuses a connection.
var errNotConfigured = errors.New("pgsafe: the pool's BeforeConnect was replaced by one that does not end with pgsafe's")

// Finish readies a new connection of a pgxpool, with a configuration that Configure has completed. It calls the
// application's function.
func (d *Dialer) Finish(ctx context.Context, conn *pgx.Conn) error {
	if conn.PgConn().CustomData()[copyKey] == nil {
		return errNotConfigured
	}
	_, err := d.ready(ctx, conn)
	return err
}

// finish is Finish for a connection of Dial's.
func (d *Dialer) finish(ctx context.Context, made *Made) (err error) {
	caught := caughtCopy(made.Conn.Conn())
	made.Pooled, err = d.ready(ctx, made.Conn.Conn())
	made.Hooked = caught.hooked
	made.Nameless = made.Pooled && caught.config.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement
	return err
}

// ready reports whether a pooler answers.
func (d *Dialer) ready(ctx context.Context, conn *pgx.Conn) (pooled bool, err error) {
	pooled, err = d.poolers.behind(ctx, conn.PgConn())
	if err != nil {
		return false, fmt.Errorf("the new connection broke: %w", err)
	}
	d.connected.Store(true)
	if pooled && !d.options.KeepExecMode {
		avoidNames(caughtCopy(conn).config)
	}
	return pooled, d.afterConnect(ctx, conn)
}

func (d *Dialer) logPooler() {
	d.options.Logger.Info("pgsafe: the connections lead to a pooler, so statements are not prepared by name",
		"pool", d.options.LogPool, "mode_kept", d.options.KeepExecMode)
}

// logUnusable is called once for each change of a file.
func (d *Dialer) logUnusable(err *urlfix.Error) {
	d.options.Logger.Warn("pgsafe: a changed file of TLS cannot be used, and what was read before stays in force",
		"pool", d.options.LogPool, "part", err.Part, "reason", err.Reason)
}
