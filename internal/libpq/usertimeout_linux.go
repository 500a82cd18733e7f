package libpq

import (
	"fmt"
	"syscall"
)

const hasUserTimeout = true

// tcpUserTimeout is TCP_USER_TIMEOUT of include/uapi/linux/tcp.h, which package syscall does not
// have.
const tcpUserTimeout = 0x12

// controlUserTimeout is a net.Dialer.Control that sets the time, in milliseconds, after which data
// that the other side does not acknowledge breaks the connection (setTCPUserTimeout, fe-connect.c).
func controlUserTimeout(ms int) func(network, address string, raw syscall.RawConn) error {
	return func(network, _ string, raw syscall.RawConn) error {
		if network != "tcp4" && network != "tcp6" {
			return nil
		}
		var setErr error
		err := raw.Control(func(fd uintptr) {
			setErr = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, ms)
		})
		if err != nil {
			return err
		}
		if setErr != nil {
			return fmt.Errorf("set tcp_user_timeout: %w", setErr)
		}
		return nil
	}
}
