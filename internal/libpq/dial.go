package libpq

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// dialer makes network connections with the keywords for sockets. It takes the place of pgx's
// DialFunc.
type dialer struct {
	net.Dialer
	// keepAlive is nil for Go's default.
	keepAlive *net.KeepAliveConfig
	// peer is the name of the user that a server behind a unix socket must run as, "" for any.
	peer string
	// tellsPath makes connections to unix sockets a socketConn.
	tellsPath bool
}

func newDialer(k keywords, timeout time.Duration) *dialer {
	d := &dialer{keepAlive: keepAliveOf(k), peer: k.get("requirepeer")}
	d.Timeout = timeout
	if d.keepAlive != nil {
		d.KeepAlive = -1 // so that what it leaves to the system is not Go's
	}
	if ms := wholeOf(k, "tcp_user_timeout"); ms > 0 {
		d.Control = controlUserTimeout(ms)
	}
	return d
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := d.prepare(conn); err != nil {
		_ = conn.Close() // nothing was sent on it
		return nil, err
	}
	if socket, ok := conn.(*net.UnixConn); ok && d.tellsPath {
		return &socketConn{socket, &net.UnixAddr{Name: address, Net: network}}, nil
	}
	return conn, nil
}

func (d *dialer) prepare(conn net.Conn) error {
	switch conn := conn.(type) {
	case *net.TCPConn:
		if d.keepAlive != nil {
			return conn.SetKeepAliveConfig(*d.keepAlive)
		}
	case *net.UnixConn:
		if d.peer != "" {
			return d.checkPeer(conn)
		}
	}
	return nil
}

// ErrPeer is returned, possibly wrapped, from a connect to a server that requirepeer keeps out.
var ErrPeer = errors.New("the server does not run as the user that requirepeer names")

// checkPeer follows PQconnectPoll (fe-connect.c): the server's user is checked before anything is
// sent.
func (d *dialer) checkPeer(conn *net.UnixConn) error {
	name, err := peerName(conn)
	if err != nil {
		return err
	}
	if name != d.peer {
		return ErrPeer
	}
	return nil
}

// keepAliveOf follows useKeepalives and its neighbours (fe-connect.c): on, unless keepalives is 0;
// a number that is not given, 0 or negative is the system's. If none of the keywords is given it is
// nil, and Go's defaults stay, which notice a dead server sooner.
func keepAliveOf(k keywords) *net.KeepAliveConfig {
	given := false
	for _, name := range [...]string{"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"} {
		given = given || k.get(name) != ""
	}
	if !given {
		return nil
	}
	if k.get("keepalives") != "" && wholeOf(k, "keepalives") == 0 {
		return &net.KeepAliveConfig{Idle: -1, Interval: -1, Count: -1}
	}
	return &net.KeepAliveConfig{
		Enable:   true,
		Idle:     time.Duration(systemsOwn(wholeOf(k, "keepalives_idle"))) * time.Second,
		Interval: time.Duration(systemsOwn(wholeOf(k, "keepalives_interval"))) * time.Second,
		Count:    systemsOwn(wholeOf(k, "keepalives_count")),
	}
}

// systemsOwn returns n, or what stands for the system's own number in a net.KeepAliveConfig.
func systemsOwn(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}

// wholeOf returns the value of a keyword that was checked to be a whole number, 0 if it has none.
func wholeOf(k keywords, name string) int {
	n, err := strconv.Atoi(k.get(name))
	if err != nil {
		return 0
	}
	return n
}

// checkNetwork refuses, or warns of, what this system cannot do.
func checkNetwork(k keywords, servers []server) ([]urlfix.Note, *urlfix.Error) {
	if k.get("requirepeer") != "" && !canTellPeers && anySocket(servers) {
		return nil, &urlfix.Error{Code: urlfix.CodeUnsupported, Part: k.part("requirepeer"), Pos: -1,
			Reason: "it cannot be checked on this system", Hint: "connect over TCP with sslmode=verify-full, or leave it out"}
	}
	if wholeOf(k, "tcp_user_timeout") > 0 && !hasUserTimeout {
		return []urlfix.Note{{Part: k.part("tcp_user_timeout"), Text: "ignored: this system has no such timeout"}}, nil
	}
	return nil, nil
}
