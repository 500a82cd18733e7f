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
	t.Run("a server that runs as that user is let in", func(t *testing.T) {
		connect(t, with(cluster.SocketURI("postgres"), "requirepeer", owner.Username))
	})
	t.Run("another is not", func(t *testing.T) {
		_, err := dialDSN(t, with(cluster.SocketURI("postgres"), "requirepeer", owner.Username+"-not"))
		if err == nil || !strings.Contains(err.Error(), "requirepeer") {
			t.Errorf("%v", err)
		}
	})
	t.Run("over TCP nobody asks", func(t *testing.T) {
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
		{"the wrong user gets not a byte", me.Username + "-not", false},
		{"the right one gets the startup packet", me.Username, true},
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
				n, _ := io.ReadAtLeast(conn, first, 1) // none is an answer too
				received <- first[:n]
			}()
			_, err = dialDSN(t, fmt.Sprintf("host=%s user=u requirepeer=%s", dir, c.peer))
			check.Equal(t, err != nil, true)
			check.Equal(t, len(<-received) > 0, c.sends)
		})
	}
}
