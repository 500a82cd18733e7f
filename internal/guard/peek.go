package guard

import (
	"net"
	"syscall"
)

// SocketState is what can be seen of a socket from outside.
type SocketState uint8

// The states of a socket.
const (
	SocketUnknown SocketState = iota // it cannot be looked at
	SocketQuiet                      // open as far as this side knows, and nothing to read
	SocketWaiting                    // there is something to read
	SocketClosed                     // the other side has closed it, or it is broken
)

// Socket looks at the socket under a connection, below TLS, without reading from it and without waiting. It costs one
// system call and no allocation. Only the connection's user may call it.
type Socket struct {
	raw   syscall.RawConn // nil if it cannot be looked at
	look  func(fd uintptr)
	state SocketState
}

// SocketOf returns the Socket under conn.
func SocketOf(conn net.Conn) *Socket {
	s := &Socket{}
	s.look = func(fd uintptr) { s.state = peek(fd) }
	if raw := rawOf(conn); raw != nil && canPeek {
		s.raw = raw
	}
	return s
}

// rawOf finds the socket under conn, under layers that say what is below them as *tls.Conn does.
func rawOf(conn net.Conn) syscall.RawConn {
	for conn != nil {
		if socket, ok := conn.(syscall.Conn); ok {
			raw, err := socket.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		}
		layer, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = layer.NetConn()
	}
	return nil
}

// Peek looks at the socket. It goes through Control, since Read would wait for a reader in the background, and fail once
// a deadline has passed (internal/poll, FD.RawRead).
func (s *Socket) Peek() SocketState {
	if s.raw == nil {
		return SocketUnknown
	}
	if s.raw.Control(s.look) != nil {
		return SocketClosed // by this side
	}
	return s.state
}

// stateOf is what a look that took n bytes, or failed, has seen.
func stateOf(n int, err error) SocketState {
	switch {
	case err == syscall.EAGAIN:
		return SocketQuiet
	case err != nil || n == 0:
		return SocketClosed
	}
	return SocketWaiting
}
