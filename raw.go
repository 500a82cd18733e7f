package pgsafe

import (
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Raw runs f with the pgx connection under conn, for COPY, LISTEN, batches and all else that is pgx's own. f must not
// keep it. It works on connections of pgsafe and of pgx's stdlib. As with sql.Conn.Raw, conn is not used otherwise
// while f runs, and the connection is closed if f panics or returns driver.ErrBadConn.
//
// If the context of a statement in f ended it, the error is errors.Is that context's error, as elsewhere in pgsafe.
// Raw has no context of its own: if conn has no connection yet, Raw waits for one, for at most the pool's
// AcquireTimeout if there is one.
func Raw(conn *sql.Conn, f func(*pgx.Conn) error) error {
	return conn.Raw(func(driverConn any) error {
		if layer, ok := driverConn.(interface{ Raw() driver.Conn }); ok { // otelsql's
			driverConn = layer.Raw()
		}
		if h, ok := driverConn.(*Conn); ok {
			return h.raw(f)
		}
		c, ok := driverConn.(interface{ Conn() *pgx.Conn })
		if !ok {
			return errors.New("pgsafe: Raw needs a connection of the pgsafe or pgx driver")
		}
		return f(c.Conn())
	})
}

func (h *Conn) raw(f func(*pgx.Conn) error) error {
	conn, err := h.native()
	if err != nil {
		return err
	}
	if h.place.Level() != nil {
		return h.place.NativeDone(f(conn))
	}
	return h.server.RawFailed(f(conn))
}
