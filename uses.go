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
	if h.connector.uses.Shown() || h.pooled == nil || h.inTx || h.openRows > 0 {
		return
	}
	dead := h.server.Closed()
	if !h.isBrief && !dead && (h.isRaw || h.server.HasState()) {
		return
	}
	h.isLost = dead && !h.isBrief
	h.unbind()
	h.inherits, h.unused = nil, time.Now()
	h.connector.ages.Reused(h.unused.Sub(h.born))
}

// retire carries out the limits that the application has set on its *sql.DB. With SetConnMaxLifetime(d) database/sql
// closes handles that are older than d. Connections that are older than such a handle go with it, so that none becomes
// older than twice d. With SetConnMaxIdleTime(d) it closes handles that were idle for d. Connections that were idle as
// long go with them.
func (c *Connector) retire(h *Conn) {
	now := time.Now()
	if age := now.Sub(h.born); c.ages.Outlived(age) {
		c.pool.RetireOlder(age)
	}
	if h.unused.IsZero() {
		return
	}
	if idle := now.Sub(h.unused); idle >= dbsql.LeastLimit {
		c.pool.RetireIdle(idle)
	}
}
