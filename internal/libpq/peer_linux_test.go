package libpq_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestRequirepeer(t *testing.T) {
	cluster := pgtest.Shared(t)
	info, err := os.Stat(cluster.DataDir())
	check.OK(t, err)
	owner, err := user.LookupId(strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)))
	check.OK(t, err)
	t.Run("requirepeer accepts a server that runs as the named user", func(t *testing.T) {
		connect(t, with(cluster.SocketURI("postgres"), "requirepeer", owner.Username))
	})
	t.Run("requirepeer refuses a server that runs as another user", func(t *testing.T) {
		_, err := dialDSN(t, with(cluster.SocketURI("postgres"), "requirepeer", owner.Username+"-not"))
		if err == nil || !strings.Contains(err.Error(), "requirepeer") {
			t.Errorf("%v", err)
		}
	})
	t.Run("requirepeer is ignored over TCP", func(t *testing.T) {
		connect(t, with(cluster.URI("postgres"), "requirepeer", owner.Username+"-not"))
	})
}

func TestRequirepeerSendsNothing(t *testing.T) {
	me, err := user.Current()
	check.OK(t, err)
	for _, c := range []struct {
		name, peer string
		sends      bool
	}{
		{"a server that runs as the wrong user receives no byte", me.Username + "-not", false},
		{"a server that runs as the right user receives the startup packet", me.Username, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "peer") // a short path
			check.OK(t, err)
			defer os.RemoveAll(dir)
			l, err := net.Listen("unix", fmt.Sprintf("%s/.s.PGSQL.5432", dir))
			check.OK(t, err)
			defer l.Close()
			received := make(chan []byte, 1)
			go func() {
				defer close(received)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				first := make([]byte, 64)
				n, _ := io.ReadAtLeast(conn, first, 1) // the server may receive no byte
				received <- first[:n]
			}()
			_, err = dialDSN(t, fmt.Sprintf("host=%s user=u requirepeer=%s", dir, c.peer))
			check.Equal(t, err != nil, true)
			check.Equal(t, len(<-received) > 0, c.sends)
		})
	}
}
