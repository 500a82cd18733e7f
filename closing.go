package pgsafe

import "runtime"

// closing is why database/sql closes a handle.
type closing uint8

const (
	closedOtherwise  closing = iota // database/sql has no room for it, say, or its DB is closed
	closedAtCheckout                // it is older than SetConnMaxLifetime allows
	closedByCleaner                 // it is too old, or SetConnMaxIdleTime says that it was idle for too long
)

// closingDepth is how many frames lie between Conn.Close and database/sql's reason at most: its
// own, and those of a layer.
const closingDepth = 32

// whyClosed finds the reason on the call stack, since database/sql gives none. It closes handles
// that are too old when it looks for one (DB.conn), from a goroutine of its own
// (DB.connectionCleaner), and when it gets one back (DB.putConn), where it also closes those that
// it has no room for.
func whyClosed() closing {
	var pcs [closingDepth]uintptr
	const skip = 2 // runtime.Callers, whyClosed
	frames := runtime.CallersFrames(pcs[:runtime.Callers(skip, pcs[:])])
	for {
		frame, more := frames.Next()
		switch frame.Function {
		case "database/sql.(*DB).putConn":
			return closedOtherwise
		case "database/sql.(*DB).conn":
			return closedAtCheckout
		case "database/sql.(*DB).connectionCleaner":
			return closedByCleaner
		}
		if !more {
			return closedOtherwise
		}
	}
}
