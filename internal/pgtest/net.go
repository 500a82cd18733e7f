package pgtest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// SilentListener returns the address of something that takes TCP connections and never says a word
// on them, until the test ends.
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

// Silence takes TCP connections, never says a word on them, and counts them.
type Silence struct {
	listener net.Listener
	running  sync.WaitGroup

	mu             sync.Mutex
	open           map[net.Conn]struct{}
	accepted, most int
}

// NewSilence starts one. It ends with the test.
func NewSilence(tb testing.TB) *Silence {
	tb.Helper()
	s := &Silence{listener: listen(tb), open: map[net.Conn]struct{}{}}
	s.running.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() { s.hold(conn) })
		}
	})
	tb.Cleanup(func() {
		_ = s.listener.Close()
		s.mu.Lock()
		for conn := range s.open {
			_ = conn.Close()
		}
		s.mu.Unlock()
		s.running.Wait()
	})
	return s
}

// Port is where it listens on 127.0.0.1.
func (s *Silence) Port() int {
	_, port := hostPort(s.listener)
	return port
}

// Open returns how many connections are open now.
func (s *Silence) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Accepted returns how many there have been, and how many at the same time.
func (s *Silence) Accepted() (all, atOnce int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted, s.most
}

// hold keeps conn until the client closes it.
func (s *Silence) hold(conn net.Conn) {
	s.mu.Lock()
	s.open[conn] = struct{}{}
	s.accepted++
	s.most = max(s.most, len(s.open))
	s.mu.Unlock()
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
	s.mu.Lock()
	delete(s.open, conn)
	s.mu.Unlock()
}

// ClosedPort returns a TCP port of 127.0.0.1 on which nothing listens, and nothing will until the
// test ends: a connection to it is refused.
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
