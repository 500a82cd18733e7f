//go:build !windows

package pgsafe

import "syscall"

// passingErrnos are how a server that is down shows, ENOENT with a unix socket.
var passingErrnos = []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.ENOENT}
