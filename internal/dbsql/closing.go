package dbsql

import "runtime"

// Closing is why database/sql closes a handle.
type Closing uint8

// The reasons.
const (
	Otherwise  Closing = iota // database/sql has no room for it, say, or its DB is closed
	AtCheckout                // it is older than SetConnMaxLifetime allows
	ByCleaner                 // it is too old, or SetConnMaxIdleTime says that it was idle for too long
)

// closingDepth is how many frames lie between Conn.Close and database/sql's reason at most: its
// own, and those of a layer.
const closingDepth = 32

// WhyClosed finds the reason on the call stack, since database/sql gives none. It closes handles
// that are too old when it looks for one (DB.conn), from a goroutine of its own
// (DB.connectionCleaner), and when it gets one back (DB.putConn), where it also closes those that
// it has no room for.
func WhyClosed() Closing {
	var pcs [closingDepth]uintptr
	const skip = 2 // runtime.Callers, WhyClosed
	frames := runtime.CallersFrames(pcs[:runtime.Callers(skip, pcs[:])])
	for {
		frame, more := frames.Next()
		switch frame.Function {
		case "database/sql.(*DB).putConn":
			return Otherwise
		case "database/sql.(*DB).conn":
			return AtCheckout
		case "database/sql.(*DB).connectionCleaner":
			return ByCleaner
		}
		if !more {
			return Otherwise
		}
	}
}
