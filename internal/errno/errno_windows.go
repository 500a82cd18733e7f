package errno

import "syscall"

var (
	silent = []syscall.Errno{wsaeConnRefused, syscall.WSAECONNRESET}
	broken = []syscall.Errno{syscall.WSAECONNRESET}
	gone   []syscall.Errno // a server's address stays
)

// wsaeConnRefused is WSAECONNREFUSED, which package syscall does not name.
const wsaeConnRefused syscall.Errno = 10061
