//go:build unix && (!linux || 386 || s390x) && !aix

package socket

import "syscall"

const canPeek = true

func peek(fd uintptr) State {
	var b [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return stateOf(n, err)
		}
	}
}
