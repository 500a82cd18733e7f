// Package socket looks at the socket under a connection without reading from it.
package socket

import (
	"net"
	"syscall"
)

// State is what can be seen of a socket from outside.
type State uint8

// The states of a socket.
const (
	Unknown State = iota // it cannot be looked at
	Quiet                // open as far as this side knows, and nothing to read
	Waiting              // there is something to read
	Closed               // the other side has closed it, or it is broken
)

// Socket looks at the socket under a connection, below TLS, without reading from it and without
// waiting. It costs one system call and no allocation. Only the connection's user may call it.
type Socket struct {
	raw   syscall.RawConn // nil if it cannot be looked at
	look  func(fd uintptr)
	state State
}

// Of returns the Socket under conn.
func Of(conn net.Conn) *Socket {
	s := &Socket{}
	s.look = func(fd uintptr) { s.state = peek(fd) }
	if raw := rawOf(conn); raw != nil && canPeek {
		s.raw = raw
	}
	return s
}

// rawOf finds the socket under conn, below layers that name what is below them as *tls.Conn does.
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

// Peek looks at the socket. It goes through Control, because Read would wait for a reader in the
// background, and fail once a deadline has passed (internal/poll, FD.RawRead).
func (s *Socket) Peek() State {
	if s.raw == nil {
		return Unknown
	}
	if s.raw.Control(s.look) != nil {
		return Closed // by this side
	}
	return s.state
}

// stateOf is what a look saw that took n bytes, or failed.
func stateOf(n int, err error) State {
	switch {
	case err == syscall.EAGAIN:
		return Quiet
	case err != nil || n == 0:
		return Closed
	}
	return Waiting
}
