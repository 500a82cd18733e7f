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
	case h.level != nil:
		h.unbind()
		h.belongs = nil
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
	h.belongs, h.inherits, h.unused = nil, nil, time.Now()
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

// retire carries out the limits that the application has set on its *sql.DB, from one second on.
//
// With SetConnMaxLifetime(d) database/sql closes handles that are older than d. From the first one on, connections close
// within 2d, or when they come back. A handle that is used again at a greater age lifts that limit: d was raised. Nothing
// is learned while database/sql closes all handles before that age, because it keeps few idle (SetMaxIdleConns).
//
// With SetConnMaxIdleTime(d) it closes handles that were idle for d. Connections that were idle as long go with them.
func (h *Conn) retire() {
	now := time.Now()
	age := now.Sub(h.born)
	if age < dbsql.LeastLimit {
		return
	}
	why := dbsql.WhyClosed()
	if h.connector.ages.Closed(age, why) {
		h.connector.pool.RetireOlder(age)
	}
	if idle := now.Sub(h.unused); why == dbsql.ByCleaner && !h.unused.IsZero() && idle >= dbsql.LeastLimit {
		h.connector.pool.RetireIdle(idle)
	}
}
