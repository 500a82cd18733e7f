package libpq_test

import (
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

const tcpUserTimeout = 18 // TCP_USER_TIMEOUT, as tcp(7) has it

// option asks the kernel about the socket of a connection.
func option(t testing.TB, conn *pgx.Conn, level, name int) int {
	t.Helper()
	return socketOption(t, conn.PgConn().Conn().(*net.TCPConn), level, name)
}

func socketOption(t testing.TB, conn *net.TCPConn, level, name int) (value int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	check.OK(t, err)
	var optErr error
	check.OK(t, raw.Control(func(fd uintptr) { value, optErr = syscall.GetsockoptInt(int(fd), level, name) }))
	check.OK(t, optErr)
	return value
}

// socket is what the kernel knows of a socket that is kept alive: on, idle, interval, count.
type socket [4]int

func socketOf(t testing.TB, conn *net.TCPConn) socket {
	t.Helper()
	return socket{
		socketOption(t, conn, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE),
		socketOption(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE),
		socketOption(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL),
		socketOption(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT),
	}
}

// dialPlain is a connection with a net.Dialer of the standard library.
func dialPlain(t testing.TB, d net.Dialer) socket {
	t.Helper()
	host, port := pgtest.SilentListener(t)
	conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	check.OK(t, err)
	defer conn.Close()
	return socketOf(t, conn.(*net.TCPConn))
}

func TestKeepalives(t *testing.T) {
	uri := pgtest.Shared(t).URI("postgres")
	system, goes := dialPlain(t, net.Dialer{KeepAlive: -1}), dialPlain(t, net.Dialer{})
	idle, interval, count := system[1], system[2], system[3]
	for _, c := range []struct {
		name   string
		params []string
		want   socket
	}{
		{"without a keyword they are Go's", nil, goes},
		{"all numbers reach the socket", []string{"keepalives", "1", "keepalives_idle", "33", "keepalives_interval", "7", "keepalives_count", "4"}, socket{1, 33, 7, 4}},
		{"they are on where only a number is given", []string{"keepalives_idle", "33"}, socket{1, 33, interval, count}},
		{"other numbers are the system's", []string{"keepalives_interval", "7"}, socket{1, idle, 7, count}},
		{"zero is the system's", []string{"keepalives_idle", "0", "keepalives_interval", "0", "keepalives_count", "0"}, socket{1, idle, interval, count}},
		{"a negative number is too", []string{"keepalives_idle", "-5", "keepalives_count", "4"}, socket{1, idle, interval, 4}},
		{"on means the system's numbers", []string{"keepalives", "1"}, socket{1, idle, interval, count}},
		{"any number but zero is on", []string{"keepalives", "-2"}, socket{1, idle, interval, count}},
		{"zero turns them off, whatever the numbers", []string{"keepalives", "0", "keepalives_idle", "33"}, socket{0, idle, interval, count}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, with(uri, c.params...))
			check.Equal(t, socketOf(t, conn.PgConn().Conn().(*net.TCPConn)), c.want)
		})
	}
	t.Run("a number that the system refuses is an error", func(t *testing.T) {
		if _, err := dialDSN(t, with(uri, "keepalives_count", "100000")); err == nil {
			t.Error("connected")
		}
	})
	t.Run("a unix socket has none", func(t *testing.T) {
		connect(t, with(pgtest.Shared(t).SocketURI("postgres"), "keepalives_idle", "33", "tcp_user_timeout", "4321"))
	})
}

func TestTCPUserTimeout(t *testing.T) {
	uri := pgtest.Shared(t).URI("postgres")
	for _, c := range []struct {
		name, value string
		want        int
	}{
		{"it is the socket's, in milliseconds", "4321", 4321},
		{"zero is the system's", "0", 0},
		{"a negative number is too", "-5", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, with(uri, "tcp_user_timeout", c.value))
			check.Equal(t, option(t, conn, syscall.IPPROTO_TCP, tcpUserTimeout), c.want)
			check.Equal(t, show(t, conn, "show tcp_user_timeout"), "0") // the server's own, for its side
		})
	}
}
