package libpq

import (
	"context"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// socketConn is a connection to a unix socket that knows by which path it was dialled. The system
// knows the path that the server was given: it may lead there through another directory, or from
// the server's own.
type socketConn struct {
	*net.UnixConn
	dialled *net.UnixAddr
}

// RemoteAddr returns the path that was dialled.
func (c *socketConn) RemoteAddr() net.Addr { return c.dialled }

// putFirst is an AfterNetConnect that makes the server behind a unix socket the first of config, in
// exchange with the one that is. pgconn sends a cancel request, which holds the key of the session,
// to the first one where the connection is a unix socket (PgConn.CancelRequest, pgconn.go).
func putFirst(_ context.Context, config *pgconn.Config, conn net.Conn) (net.Conn, error) {
	socket, ok := conn.RemoteAddr().(*net.UnixAddr)
	if !ok || leadsToSocket(config.Host, config.Port, socket) {
		return conn, nil
	}
	for _, other := range config.Fallbacks {
		if leadsToSocket(other.Host, other.Port, socket) {
			config.Host, other.Host = other.Host, config.Host
			config.Port, other.Port = other.Port, config.Port
			config.TLSConfig, other.TLSConfig = other.TLSConfig, config.TLSConfig
			break
		}
	}
	return conn, nil
}

// leadsToSocket reports whether pgconn dials socket for host and port.
func leadsToSocket(host string, port uint16, socket *net.UnixAddr) bool {
	network, path := pgconn.NetworkAddress(host, port)
	return network == "unix" && path == socket.Name
}
