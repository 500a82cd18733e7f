package pgsafe

import (
	"time"

	"github.com/pgsafe/pgsafe/internal/dbsql"
)

// begin is called before each statement. Where a use's end is not shown, it looks which use the
// statement belongs to. A *sql.DB gets nothing that an earlier use has left.
func (h *Conn) begin() {
	if h.connector.uses.Shown() || h.inTx {
		return
	}
	if h.isBrief = dbsql.IsForDB(); h.isBrief {
		h.unbind()
		h.isLost = false
	}
}

// settle is called after each statement, transaction and set of rows. Where a use's end is not
// shown, it releases the connection, unless the use may need it.
func (h *Conn) settle() {
	switch {
	case h.connector.uses.Shown() || h.inTx || h.openRows > 0:
		return
	case h.place.Level() != nil:
		h.unbind()
		h.place.Forget()
		return
	case h.pooled == nil:
		return
	}
	dead := h.server.Closed()
	if !h.isBrief && !dead && (h.isRaw || h.server.HasState()) {
		return
	}
	h.isLost = dead && !h.isBrief
	h.unbind()
	h.place.Forget()
	h.inherits, h.unused = nil, time.Now()
	h.reused()
}

// onRowsClosed is settle for rows of a level. It is nil where the use's end is shown.
func (h *Conn) onRowsClosed() func() {
	if h.connector.uses.Shown() {
		return nil
	}
	return h.settle
}

// reused notes that database/sql uses the handle again.
func (h *Conn) reused() {
	if h.connector.ages.Reused(time.Since(h.born)) {
		h.connector.pool.RetireOlder(0)
	}
}

// retire carries out the limits that the application has set on its *sql.DB, when that closes the handle.
func (h *Conn) retire() {
	older, idle := h.connector.ages.Limits(h.born, h.unused)
	if older > 0 {
		h.connector.pool.RetireOlder(older)
	}
	if idle > 0 {
		h.connector.pool.RetireIdle(idle)
	}
}
