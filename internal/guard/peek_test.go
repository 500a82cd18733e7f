//go:build unix

package guard_test

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"github.com/pgsafe/pgsafe/internal/guard"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestASocketIsLookedAt(t *testing.T) {
	for name, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(name, func(t *testing.T) {
			near, far := sockets(t, name, address)
			s := guard.SocketOf(near)
			equal(t, s.Peek(), guard.SocketQuiet)

			_, err := far.Write([]byte("ab"))
			must(t, err)
			pgtest.Eventually(t, "it has arrived", func() bool { return s.Peek() == guard.SocketWaiting })
			b := make([]byte, 2)
			_, err = near.Read(b)
			must(t, err)
			equal(t, string(b), "ab")
			equal(t, s.Peek(), guard.SocketQuiet)
			if n := testing.AllocsPerRun(100, func() { s.Peek() }); n != 0 {
				t.Errorf("a look allocates %v times", n)
			}

			must(t, far.Close())
			pgtest.Eventually(t, "it is seen to be closed", func() bool { return s.Peek() == guard.SocketClosed })
		})
	}

	t.Run("under TLS", func(t *testing.T) {
		near, _ := sockets(t, "tcp", "127.0.0.1:0")
		equal(t, guard.SocketOf(tls.Client(near, &tls.Config{ServerName: "s"})).Peek(), guard.SocketQuiet)
	})

	t.Run("after it was closed on this side", func(t *testing.T) {
		near, _ := sockets(t, "tcp", "127.0.0.1:0")
		s := guard.SocketOf(near)
		must(t, near.Close())
		equal(t, s.Peek(), guard.SocketClosed)
	})

	t.Run("not where there is none", func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		equal(t, guard.SocketOf(near).Peek(), guard.SocketUnknown)
	})
}

// sockets returns both ends of a connection.
func sockets(t *testing.T, network, address string) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	must(t, err)
	defer l.Close()
	near, err = net.Dial(network, l.Addr().String())
	must(t, err)
	far, err = l.Accept()
	must(t, err)
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return near, far
}
