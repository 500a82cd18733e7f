package pgsafe

import (
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// A use of a handle begins when database/sql takes the handle, and ends when it gets the handle
// back. database/sql then calls IsValid, and the handle releases its connection. A layer around the
// handle may hide IsValid. Where it may, the handle decides after each statement outside a
// transaction: a use by a *sql.DB ends with its statement, which the call stack shows. A use by a
// *sql.Conn may go on, so its connection stays if the session has state that the *sql.Conn may need.

// uses is what a Connector knows of the uses of its handles. The zero value knows nothing.
type uses struct {
	end atomic.Bool // database/sql reaches Conn.IsValid
}

// shown reports whether IsValid shows each use's end.
func (u *uses) shown() bool { return u.end.Load() }

// show notes that IsValid is reached.
func (u *uses) show() {
	if !u.end.Load() {
		u.end.Store(true)
	}
}

// connected looks whether database/sql itself has called the Connector's Connect. Then no layer is
// around the handles. A layer cannot wrap a handle without calling Connect.
func (u *uses) connected() {
	if u.shown() {
		return
	}
	var pcs [1]uintptr
	const skip = 3 // runtime.Callers, connected, Connector.Connect
	frame, _ := runtime.CallersFrames(pcs[:runtime.Callers(skip, pcs[:])]).Next()
	if strings.HasPrefix(frame.Function, "database/sql.") {
		u.show()
	}
}

// stackDepth is how far isForDB looks: the layer's functions lie between database/sql and pgsafe.
const stackDepth = 48

// isForDB reports whether database/sql runs the present statement for a *sql.DB. It reports false
// for a *sql.Conn, and for a *sql.Stmt, which may belong to either.
func isForDB() bool {
	var pcs [stackDepth]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		switch frame.Function {
		case "database/sql.(*DB).ExecContext", "database/sql.(*DB).QueryContext", "database/sql.(*DB).BeginTx",
			"database/sql.(*DB).PrepareContext", "database/sql.(*DB).PingContext":
			return true
		}
		if !more {
			return false
		}
	}
}

// begin is called before each statement. Where a use's end is not shown, it looks which use the
// statement belongs to. A *sql.DB gets nothing that an earlier use has left.
func (h *Conn) begin() {
	if h.connector.handles.uses.shown() || h.inTx {
		return
	}
	if h.isBrief = isForDB(); h.isBrief {
		h.unbind()
		h.isLost = false
	}
}

// settle is called after each statement, transaction and set of rows. Where a use's end is not
// shown, it releases the connection, unless the use may need it.
func (h *Conn) settle() {
	if h.connector.handles.uses.shown() || h.pooled == nil || h.inTx || h.openRows > 0 {
		return
	}
	dead := h.server.Closed()
	if !h.isBrief && !dead && (h.isRaw || h.server.HasState()) {
		return
	}
	h.isLost = dead && !h.isBrief
	h.unbind()
	h.inherits, h.unused = nil, time.Now()
	h.connector.handles.reused(h.unused.Sub(h.born))
}
