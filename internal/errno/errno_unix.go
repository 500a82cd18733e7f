//go:build !windows

package errno

import "syscall"

var (
	silent = []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE}
	broken = []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE}
	gone   = []syscall.Errno{syscall.ENOENT}
)
