// Package errno sorts the operating system's errors of connecting.
package errno

import (
	"slices"
	"syscall"
)

// Silent reports whether nothing answers at an address: no process listens there yet, or any more.
func Silent(e syscall.Errno) bool { return slices.Contains(silent, e) }

// Gone reports whether the address itself does not exist: a server removes its unix socket when it
// stops.
func Gone(e syscall.Errno) bool { return slices.Contains(gone, e) }

// Broken reports whether the other side ended a connection that was open.
func Broken(e syscall.Errno) bool { return slices.Contains(broken, e) }
