//go:build !linux

package libpq

import "syscall"

const hasUserTimeout = false

// controlUserTimeout does nothing, as libpq does where the system has no such timeout.
func controlUserTimeout(int) func(network, address string, raw syscall.RawConn) error { return nil }
