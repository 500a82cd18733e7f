//go:build backends

package backends

import "syscall"

// attributes make a server end with the tests, also when those are killed, unless it is to be kept.
func attributes() *syscall.SysProcAttr {
	if *keep {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
