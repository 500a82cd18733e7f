package pgtest

import (
	"net"
	"sync"
	"testing"
)

// SilentListener returns the address of something that takes TCP connections and never says a word on them, until
// the test ends.
func SilentListener(tb testing.TB) (host string, port int) {
	tb.Helper()
	l := listen(tb)
	var conns []net.Conn
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		accepting.Wait()
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
	return hostPort(l)
}

// ClosedPort returns a TCP port of 127.0.0.1 on which nothing listens, and nothing will until the test ends: a
// connection to it is refused.
func ClosedPort(tb testing.TB) int {
	tb.Helper()
	// The near end of a connection holds its port without listening on it.
	l := listen(tb)
	defer l.Close()
	near, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	far, err := l.Accept()
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return near.LocalAddr().(*net.TCPAddr).Port
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	return l
}

func hostPort(l net.Listener) (string, int) {
	addr := l.Addr().(*net.TCPAddr)
	return addr.IP.String(), addr.Port
}
