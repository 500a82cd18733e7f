package pgsafe

import "syscall"

// passingErrnos are how a server that is down shows: WSAECONNREFUSED and WSAECONNRESET.
var passingErrnos = []syscall.Errno{10061, syscall.WSAECONNRESET}
