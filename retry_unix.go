//go:build !windows

package pgsafe

import "syscall"

// silentErrnos are how a server shows that does not listen yet, or any more.
var silentErrnos = []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE}

// awayErrnos are how one shows that has taken its address with it: its unix socket.
var awayErrnos = []syscall.Errno{syscall.ENOENT}
