// Package dbsql knows what database/sql shows a driver of the handles that it holds: when a use of one ends, and which
// limits the application has set on its *sql.DB.
package dbsql

import (
	"runtime"
	"strings"
	"sync/atomic"
)

// A use of a handle begins when database/sql takes the handle, and ends when it gets the handle
// back. database/sql then calls IsValid, and the handle releases its connection. A layer around the
// handle may hide IsValid. Where it may, the handle decides after each statement outside a
// transaction: a use by a *sql.DB ends with its statement, which the call stack shows. A use by a
// *sql.Conn may go on, so its connection stays if the session has state that the *sql.Conn may need.

// Uses is what a Connector knows of the uses of its handles. The zero value knows nothing.
type Uses struct {
	end atomic.Bool // database/sql reaches IsValid
}

// Shown reports whether IsValid shows each use's end.
func (u *Uses) Shown() bool { return u.end.Load() }

// Show notes that IsValid is reached.
func (u *Uses) Show() {
	if !u.end.Load() {
		u.end.Store(true)
	}
}

// Connected looks whether database/sql itself has called Connect, which calls Connected. Then no layer is
// around the handles. A layer cannot wrap a handle without calling Connect.
func (u *Uses) Connected() {
	if u.Shown() {
		return
	}
	var pcs [1]uintptr
	const skip = 3 // runtime.Callers, Connected, Connect
	frame, _ := runtime.CallersFrames(pcs[:runtime.Callers(skip, pcs[:])]).Next()
	if strings.HasPrefix(frame.Function, "database/sql.") {
		u.Show()
	}
}

// stackDepth is how far IsForDB looks: the layer's functions lie between database/sql and pgsafe.
const stackDepth = 48

// IsForDB reports whether database/sql runs the present statement for a *sql.DB. It reports false
// for a *sql.Conn, and for a *sql.Stmt, which may belong to either.
func IsForDB() bool {
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
