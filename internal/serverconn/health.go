package serverconn

import (
	"context"
	"time"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/health"
	"github.com/pgsafe/pgsafe/internal/socket"
)

// blindPingAfter takes the place of PingAfter where the socket cannot be looked at. It is pgx's own default
// (stdlib.Conn.ResetSession).
const blindPingAfter = time.Second

// momentAgo is how recently a connection was in use if its socket need not be looked at. The look is a system call,
// which is a twentieth of the CPU time of a quick query.
const momentAgo = time.Millisecond

// closeTimeout bounds the end of a connection to a server that does not listen. It is what pgx's own driver allows
// (stdlib.Conn.Close).
const closeTimeout = 5 * time.Second

// State says what the last user left of the connection.
func (c *Conn) State() health.State {
	pc := c.pgx.PgConn()
	c.config.Tracer.Settled(c.pgx)
	switch {
	case c.verdict == outdated:
		return health.Outdated
	case c.verdict == spent:
		return health.Unfit
	case pc.IsClosed() && !c.config.Cancels:
		return health.Unfit // cancelling closes, so nothing follows for the others
	case pc.IsClosed() && c.verdict == closedHere:
		return health.Doubtful
	case pc.IsClosed():
		return health.Lost
	case pc.IsBusy(), pc.TxStatus() != 'I':
		return health.Unfit
	}
	if c.isDirty() {
		return health.Dirty
	}
	return health.Clean
}

// HasState reports whether the session has state that its user may need: a transaction, or effects of statements.
func (c *Conn) HasState() bool {
	return c.InTransaction() || !c.facts.Nameless && c.session.effects != 0
}

// Fit reports whether the connection can be used after it was idle for that long. It pings a connection that is
// suspect, that was idle for long, or to which the server has sent something unasked.
func (c *Conn) Fit(ctx context.Context, idle time.Duration, trust health.Trust) bool {
	if c.pgx.IsClosed() || c.cancel.Clear() != nil {
		return false
	}
	if idle < min(momentAgo, c.config.PingAfter) && trust == health.Trusted {
		return true
	}
	after := c.config.PingAfter
	switch c.socket.Peek() {
	case socket.Closed:
		c.Close()
		return false
	case socket.Waiting: // the server's last words, a notification, or a setting that was reloaded
		trust = health.Suspect
	case socket.Unknown:
		after = min(after, blindPingAfter)
	}
	if idle <= after && trust == health.Trusted {
		return true
	}
	return c.answers(ctx)
}

// answers pings the connection for at most the ping timeout, or half of the caller's time: the other half is for
// another connection. If ctx ends first nothing is known, and the caller's statement reports it.
func (c *Conn) answers(ctx context.Context) bool {
	limit := c.config.PingTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	within, cancel := context.WithTimeout(canceler.Patient(ctx, 0), limit)
	defer cancel()
	started := time.Now()
	err := c.pgx.Ping(within)
	c.config.Tracer.Pinged(c.pgx, started)
	return err == nil || ctx.Err() != nil
}

// Ended reports whether the server has closed the connection. If the connection is suspect, anything that the server
// has said unasked counts as its last words. It does not block.
func (c *Conn) Ended(trust health.Trust) bool {
	switch c.socket.Peek() {
	case socket.Closed:
		return true
	case socket.Waiting: // else it may be a notification, or a setting that was reloaded
		return trust == health.Suspect
	}
	return false
}

// Closed reports whether the connection is closed.
func (c *Conn) Closed() bool { return c.pgx.IsClosed() }

// Expires is when the connection's client certificate expires, zero for never.
func (c *Conn) Expires() time.Time { return c.facts.Expires }

// Close ends the connection.
func (c *Conn) Close() {
	c.config.Tracer.ConnClosing(c.pgx)
	if !c.facts.Expires.IsZero() && time.Now().After(c.facts.Expires) && c.config.OnExpired != nil {
		c.config.OnExpired()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = c.pgx.Close(canceler.Patient(ctx, 0)) // it is gone either way
}

// Abort cuts the connection off under its user, unless the server is at work for that user.
func (c *Conn) Abort() bool {
	if c.wire.Owes() && c.socket.Peek() == socket.Quiet {
		return false
	}
	_ = c.pgx.PgConn().Conn().Close() // it is gone either way
	return true
}
