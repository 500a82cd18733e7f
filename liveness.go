package pgsafe

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/guard"
)

// blindPingAfter takes the place of PingAfter where the socket cannot be looked at. It is pgx's own default.
const blindPingAfter = time.Second

// health is what is known of an idle connection without asking the server.
type health uint8

const (
	sound    health = iota
	doubtful        // to be pinged
	dead            // to be closed
)

// examine tells the health of a connection that nobody has used since idleSince.
func (c *Connector) examine(ph *physical, idleSince time.Time) health {
	if c.stale(ph) {
		return dead
	}
	after := c.profile.pingAfter()
	switch ph.socket.Peek() {
	case guard.SocketClosed:
		return dead
	case guard.SocketWaiting: // the server's last words, or a notification, or a setting that was reloaded
		return doubtful
	case guard.SocketUnknown:
		after = min(after, blindPingAfter)
	}
	if time.Since(idleSince) > after || c.suspect(idleSince) {
		return doubtful
	}
	return sound
}

// suspect tells whether another connection was found broken after that time: this one may be, too, in a way that the
// socket does not show.
func (c *Connector) suspect(idleSince time.Time) bool {
	return idleSince.UnixNano() <= c.brokenAt.Load()
}

// suspectOthers is called when a connection was found broken.
func (c *Connector) suspectOthers() { c.brokenAt.Store(time.Now().UnixNano()) }

// learn makes the others suspect if a connection comes back closed: by a statement that was cancelled and had no answer,
// say. Where cancelling always closes, that means nothing.
func (c *Connector) learn(ph *physical) {
	if c.canceler != nil && ph.conn.IsClosed() {
		c.suspectOthers()
	}
}

// fit makes sure, before a parked lease is used again, that its connection can go on. Idleness is measured from when the
// lease was parked.
func (l *Conn) fit(ctx context.Context) bool {
	if l.phys.expired(time.Now()) || !l.phys.reusable() || l.phys.guard.Clear() != nil {
		return false
	}
	switch l.connector.examine(l.phys, l.phys.idleSince) {
	case dead:
		return false
	case doubtful:
		return l.connector.answers(ctx, l.phys.conn)
	}
	return true
}

// answers pings conn, which it closes if there is no answer within the profile's PingTimeout, or half of the time that
// the caller has: the other half is for another connection. If ctx is done first nothing is known, and whatever is run
// next says so.
func (c *Connector) answers(ctx context.Context, conn *pgx.Conn) bool {
	limit := c.profile.pingTimeout()
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	within, cancel := context.WithTimeout(guard.Patient(ctx, 0), limit)
	defer cancel()
	if conn.Ping(within) == nil || ctx.Err() != nil {
		return true
	}
	c.suspectOthers()
	return false
}

// abandon closes the lease's connection. The lease gets another at its next use.
func (l *Conn) abandon() {
	std := l.connector.lot.strip(l)
	closeNow(std.Conn())
	_ = std.Close() // a return to the pool, which drops it
}

// shouldPingPooled is asked by the pool about each connection before it hands it out. The pool's own ping may take all of
// the caller's time: preparePooled pings instead.
func (c *Connector) shouldPingPooled(_ context.Context, p pgxpool.ShouldPingParams) bool {
	ph := physicalOf(p.Conn)
	ph.health = c.examine(ph, time.Now().Add(-p.IdleDuration))
	return false
}

// preparePooled is asked next (pgxpool, Pool.Acquire), and has the connection closed with false.
func (c *Connector) preparePooled(ctx context.Context, conn *pgx.Conn) (bool, error) {
	ph := physicalOf(conn)
	switch {
	case ph.health == dead, ph.expired(time.Now()):
		return false, nil
	case ph.health == doubtful && !c.answers(ctx, conn):
		return false, nil
	case ctx.Err() != nil:
		return !conn.IsClosed(), ctx.Err()
	}
	if fit, err := clearPooled(ctx, conn); !fit || err != nil {
		return fit, err
	}
	return c.unsettlePooled(ctx, conn), nil
}

// shouldPing is asked by pgx's stdlib before database/sql uses a connection again that is not a lease of ours
// (WithNativeConn).
func (c *Connector) shouldPing(_ context.Context, p stdlib.ShouldPingParams) bool {
	ph := physicalOf(p.Conn)
	if ph == nil {
		return true
	}
	found := c.examine(ph, time.Now().Add(-p.IdleDuration))
	if found == dead {
		closeNow(p.Conn) // a server that is no primary any more would answer the ping, which now fails
	}
	return found != sound
}
