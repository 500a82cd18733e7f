//go:build backends && !linux

package backends

import "syscall"

// attributes are the usual ones: only Linux can end a server with the tests when those are killed.
func attributes() *syscall.SysProcAttr { return nil }
