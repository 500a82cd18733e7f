package failure

import (
	"syscall"

	"github.com/pgsafe/pgsafe/internal/errno"
)

// reasonOfErrno sorts the system's errors of connecting. A server that stops removes its unix
// socket.
func reasonOfErrno(e syscall.Errno) Reason {
	switch {
	case errno.Broken(e):
		return ReasonReset
	case errno.Silent(e), errno.Gone(e):
		return ReasonRefused
	}
	return ReasonOther
}
