package pgsafe

import "syscall"

// silentErrnos are how a server shows that does not listen yet, or any more: WSAECONNREFUSED and WSAECONNRESET.
var silentErrnos = []syscall.Errno{10061, syscall.WSAECONNRESET}

// awayErrnos are none: the address of a server stays.
var awayErrnos []syscall.Errno
