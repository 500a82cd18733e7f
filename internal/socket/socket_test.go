//go:build unix

package socket_test

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/socket"
)

func TestPeek(t *testing.T) {
	for name, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run("Peek sees what arrives and the end, "+name, func(t *testing.T) {
			near, far := sockets(t, name, address)
			s := socket.Of(near)
			check.Equal(t, s.Peek(), socket.Quiet)

			_, err := far.Write([]byte("ab"))
			check.OK(t, err)
			pgtest.Eventually(t, "the data has arrived", func() bool { return s.Peek() == socket.Waiting })
			b := make([]byte, 2)
			_, err = near.Read(b)
			check.OK(t, err)
			check.Equal(t, string(b), "ab")
			check.Equal(t, s.Peek(), socket.Quiet)
			if n := testing.AllocsPerRun(100, func() { s.Peek() }); n != 0 {
				t.Errorf("a look allocates %v times", n)
			}

			check.OK(t, far.Close())
			pgtest.Eventually(t, "the socket is seen to be closed", func() bool { return s.Peek() == socket.Closed })
		})
	}

	t.Run("Peek looks below TLS", func(t *testing.T) {
		near, _ := sockets(t, "tcp", "127.0.0.1:0")
		check.Equal(t, socket.Of(tls.Client(near, &tls.Config{ServerName: "s"})).Peek(), socket.Quiet)
	})

	t.Run("Peek sees that this side has closed the connection", func(t *testing.T) {
		near, _ := sockets(t, "tcp", "127.0.0.1:0")
		s := socket.Of(near)
		check.OK(t, near.Close())
		check.Equal(t, s.Peek(), socket.Closed)
	})

	t.Run("Peek knows nothing of a connection without a socket", func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		check.Equal(t, socket.Of(near).Peek(), socket.Unknown)
	})
}

// sockets returns both ends of a connection.
func sockets(t *testing.T, network, address string) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	check.OK(t, err)
	defer l.Close()
	near, err = net.Dial(network, l.Addr().String())
	check.OK(t, err)
	far, err = l.Accept()
	check.OK(t, err)
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return near, far
}
