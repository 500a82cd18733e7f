package libpq

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// server is one of the servers to try.
type server struct {
	// host is the name or address that certificates and messages know it by, or a socket directory.
	host string
	// dir is a socket directory that was given although hostaddr outranks it, "" if there is none:
	// password files know the server by it.
	dir string
	// addr is the address to dial instead of looking host up, "" if there is none.
	addr string
	port uint16
}

const defaultPort = 5432

// serversOf makes the list of servers from host, hostaddr and port, as pqConnectOptions2
// (fe-connect.c) does: as many as there are addresses, else hosts; one port counts for all of them.
func serversOf(k keywords) ([]server, *urlfix.Error) {
	var hosts, addrs []string
	if text := k.get("hostaddr"); text != "" {
		addrs = strings.Split(text, ",")
		hosts = make([]string, len(addrs))
	}
	if text := k.get("host"); text != "" || addrs == nil {
		hosts = strings.Split(text, ",")
	}
	if addrs == nil {
		addrs = make([]string, len(hosts))
	}
	if len(addrs) != len(hosts) {
		return nil, listFault(k.part("hostaddr"), "the numbers of hosts and addresses differ")
	}
	ports := strings.Split(k.get("port"), ",")
	if len(ports) != 1 && len(ports) != len(hosts) {
		return nil, listFault(k.part("port"), "the numbers of hosts and ports differ")
	}
	servers := make([]server, len(hosts))
	for i := range servers {
		one, err := serverOf(k, hosts[i], addrs[i])
		if err != nil {
			return nil, err
		}
		one.port = portOf(ports[min(i, len(ports)-1)])
		servers[i] = one
	}
	return servers, nil
}

// serverOf is one element of the lists.
func serverOf(k keywords, host, addr string) (server, *urlfix.Error) {
	switch {
	case addr == "" && host == "":
		return server{host: defaultHost()}, nil
	case addr == "":
		return server{host: host}, nil
	case host != "" && !isDirectory(host):
		return server{host: host, addr: addr}, nil
	case k.get("sslmode") == "verify-full":
		return server{}, &urlfix.Error{Code: urlfix.CodeValue, Part: k.part("hostaddr"), Pos: -1,
			Reason: "verify-full needs the name that the certificate must hold", Hint: "add host, which is then not looked up"}
	}
	return server{host: addr, dir: host}, nil
}

func listFault(part, reason string) *urlfix.Error {
	return &urlfix.Error{Code: urlfix.CodeValue, Part: part, Pos: -1, Reason: reason,
		Hint: "give as many elements as hosts; an element may be empty"}
}

// portOf reads a port that was checked before; none is the default.
func portOf(text string) uint16 {
	n, err := strconv.ParseUint(strings.Trim(text, " "), 10, 16)
	if err != nil {
		return defaultPort
	}
	return uint16(n)
}

// isSocket reports whether the server is a unix socket, of which host is the directory.
func (s server) isSocket() bool { return isDirectory(s.host) }

// isDirectory tells directories from host names as pgx does (isAbsolutePath, pgconn/config.go).
func isDirectory(host string) bool { return strings.HasPrefix(host, "/") || filepath.IsAbs(host) }

// anySocket reports whether one of the servers is a unix socket.
func anySocket(servers []server) bool {
	return slices.ContainsFunc(servers, server.isSocket)
}

// addressed reports whether the host name stands next to an address at least once.
func addressed(servers []server, host string) bool {
	return slices.ContainsFunc(servers, func(s server) bool { return s.host == host && s.addr != "" })
}

// distinct leaves out what lookups of the same name find anyway: see resolver.
func distinct(servers []server) []server {
	var out []server
	for _, s := range servers {
		again := slices.ContainsFunc(out, func(other server) bool { return other.host == s.host })
		if !again || !addressed(servers, s.host) {
			out = append(out, s)
		}
	}
	return out
}
