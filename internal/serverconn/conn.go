// Package serverconn is one connection to a server, with what is known of the server's session behind it: whether it
// is alive, which settings are applied, what statements have left behind, and whether the last statement began.
package serverconn

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/socket"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// Config is what the connections of one pool have in common. Effects, Shapes and InUse must be set. Without the rest
// it has no telemetry, resets a session only after statements with lasting effects, and leaves cancellation to pgx.
type Config struct {
	Reset         Reset
	PingAfter     time.Duration // how long a connection may be idle without a ping
	PingTimeout   time.Duration // bounds a ping
	CancelTimeout time.Duration // how long COMMIT has to end after its context; zero for canceler.DefaultTimeout
	Cancels       bool          // statements are cancelled by requests, so a closed connection means a lost server
	Effects       *EffectsCache // of texts
	Shapes        *ShapeCache   // of texts
	InUse         *InUse        // settings
	Tracer        *tracing.Tracer

	// OnReset is called after a reset with the effects that it undid, and its error. nil means no call. The end of the
	// connection instead of a reset is no error.
	OnReset func(undone []Effects, err error)
	// OnUnbegun is called for each statement that certainly never began. nil means no call.
	OnUnbegun func()
	// OnExpired is called for each connection that is closed after its certificate has expired. nil means no call.
	OnExpired func()
}

// Reset says when a session is reset before its next user.
type Reset uint8

// The times of a reset.
const (
	ResetEffects Reset = iota // after statements with lasting effects
	ResetAlways               // after each use
	ResetClose                // the connection closes instead, after statements with lasting effects
)

// Facts are what the dial has found out about a connection.
type Facts struct {
	Pooled   bool      // it leads to a pooler: the next transaction may run in another session
	Nameless bool      // statements have no names on it, because of the pooler
	Hooked   bool      // the application's own function may have changed the session
	Expires  time.Time // when its client certificate expires, zero for never
}

// stdConn is an alias so that embedding it makes no exported field named Conn.
type stdConn = stdlib.Conn

// Conn is one connection to a server. Its user calls its methods one at a time, except Abort.
type Conn struct {
	*stdConn

	config *Config
	facts  Facts
	pgx    *pgx.Conn
	cancel *canceler.Handler // nil where pgx, or the application, cancels statements
	wire   *wire.Wire        // nil on a connection that was hooked otherwise
	socket *socket.Socket

	tracer       pgx.QueryTracer // pgx's, nil for none
	mode         pgx.QueryExecMode
	descriptions int // how many descriptions of statements pgx keeps

	session  session
	hook     hookState
	prefixes prefixes
	tags     tags
	prepared prepared
	cause    error   // why the connection broke
	verdict  verdict // what the server's errors and the user's cancels say of the connection
}

// verdict is what the end of a connection means for the others.
type verdict uint8

const (
	noVerdict  verdict = iota
	closedHere         // it was closed on this side after its statement's context had ended
	spent              // it was closed because a reset would not do
	outdated           // the server ends all its sessions, or is not the wanted one any more
)

// customDataKey is where a Conn hangs on its connection (pgconn.PgConn.CustomData).
const customDataKey = "github.com/pgsafe/pgsafe"

// New returns a Conn for a connection that was just made. It reads from the server what the application's own
// function has set, if facts say that it ran.
func New(ctx context.Context, std *stdlib.Conn, facts Facts, config *Config) (*Conn, error) {
	pc, own := std.Conn().PgConn(), std.Conn().Config()
	c := &Conn{
		stdConn: std, config: config, facts: facts, pgx: std.Conn(),
		cancel: canceler.HandlerOf(pc), wire: wire.Of(pc), socket: socket.Of(pc.Conn()),
		tracer: own.Tracer, mode: own.DefaultQueryExecMode, descriptions: own.DescriptionCacheCapacity,
	}
	if facts.Hooked && !facts.Pooled {
		if err := c.readBaseline(ctx); err != nil {
			return nil, err
		}
	}
	pc.CustomData()[customDataKey] = c
	config.Tracer.Repeats(c.pgx)
	return c, nil
}

// Of returns the Conn of a connection, nil if it has none.
func Of(conn *pgconn.PgConn) *Conn {
	c, _ := conn.CustomData()[customDataKey].(*Conn)
	return c
}

// Pgx returns the pgx connection.
func (c *Conn) Pgx() *pgx.Conn { return c.pgx }

// Outdate notes that the server ends all its sessions, or is not the wanted one any more.
func (c *Conn) Outdate() { c.verdict = outdated }

// String shows no setting, and no secret of the configuration.
func (c *Conn) String() string {
	return fmt.Sprintf("a connection to process %d", c.pgx.PgConn().PID())
}

// GoString is String, so that %#v shows none either.
func (c *Conn) GoString() string { return c.String() }

// InTransaction reports whether a transaction is open, as far as the server has said.
func (c *Conn) InTransaction() bool { return c.pgx.PgConn().TxStatus() != 'I' }
