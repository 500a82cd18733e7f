package pgsafe

import (
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsafe/pgsafe/internal/guard"
)

// physical is what pgsafe remembers of one physical connection for as long as that lives, whichever lease holds it.
// The parking lot's mutex guards place, since and its links; the rest belongs to the connection's holder.
type physical struct {
	conn       *pgx.Conn
	guard      *guard.Handler // nil where pgx, or the application, cancels statements
	wire       *guard.Wire    // nil on a connection that was hooked otherwise
	socket     *guard.Socket
	generation uint64
	statements *statements
	expires    time.Time // zero if it may live for ever
	certified  time.Time // the same, if it is its certificate that expires; else zero
	idleSince  time.Time // since when it was parked before its present use
	health     health    // as found by the pool that is about to hand it out
	lost       error     // why it broke
	session    serverSession

	place      place
	since      time.Time // when it came to its place
	lease      *Conn     // who has it; nil if native pool code has, or nobody
	prev, next *physical
}

// customDataKey is where a physical hangs on its connection (pgconn.PgConn.CustomData).
const customDataKey = "github.com/pgsafe/pgsafe"

func newPhysical(conn *pgx.Conn, p *pgxpool.Config, generation uint64) *physical {
	ph := &physical{
		conn:       conn,
		generation: generation,
		guard:      guard.HandlerOf(conn.PgConn()),
		wire:       guard.WireOf(conn.PgConn()),
		socket:     guard.SocketOf(conn.PgConn().Conn()),
		statements: newStatements(conn),
		session:    serverSession{pooled: behindPooler(conn)},
	}
	if p.MaxConnLifetime > 0 {
		ph.expires = time.Now().Add(p.MaxConnLifetime)
		if p.MaxConnLifetimeJitter > 0 {
			ph.expires = ph.expires.Add(rand.N(p.MaxConnLifetimeJitter))
		}
	}
	conn.PgConn().CustomData()[customDataKey] = ph
	return ph
}

// physicalOf finds what newPhysical hung on conn, nil if it is none of ours.
func physicalOf(conn *pgx.Conn) *physical {
	ph, _ := conn.PgConn().CustomData()[customDataKey].(*physical)
	return ph
}

func (ph *physical) expired(now time.Time) bool {
	return !ph.expires.IsZero() && now.After(ph.expires)
}

// reusable tells whether the next user can go on with the connection: it is open, in no transaction, and no
// result is half read.
func (ph *physical) reusable() bool {
	pc := ph.conn.PgConn()
	return !pc.IsClosed() && !pc.IsBusy() && pc.TxStatus() == 'I'
}
