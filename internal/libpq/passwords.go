package libpq

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// passwords gives each server its own password out of the password file. pgx knows one for all of
// them.
type passwords struct {
	passfile passfile
	servers  []server
	onFound  func(password string)
}

// settle makes conn use the file, unless it has a password, which is then the application's.
func (p *passwords) settle(conn *pgx.ConnConfig) {
	if conn.Password != "" {
		return
	}
	servers := p.serversOf(conn)
	if len(servers) == 1 {
		conn.Password = p.find(servers[0], conn.User, conn.Database).Reveal()
		return
	}
	a := &attempts{passwords: p, servers: servers, names: map[string][]string{}}
	lookup, afterNetConnect := conn.LookupFunc, conn.AfterNetConnect
	conn.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		addrs, err := lookup(ctx, host)
		a.remember(host, addrs)
		return addrs, err
	}
	conn.AfterNetConnect = func(ctx context.Context, config *pgconn.Config, nc net.Conn) (net.Conn, error) {
		wrapped := nc
		if afterNetConnect != nil { // first: it may only look on, and wants to see a handshake that fails
			var err error
			if wrapped, err = afterNetConnect(ctx, config, nc); err != nil {
				return wrapped, err
			}
		}
		if err := shakeHands(ctx, nc); err != nil {
			return wrapped, err
		}
		a.fill(config, nc)
		return wrapped, nil
	}
}

// serversOf returns the servers of conn. The application may have replaced the servers of the
// string.
func (p *passwords) serversOf(conn *pgx.ConnConfig) []server {
	var all []server
	for _, group := range groupsOf(conn) {
		one := server{host: group[0].Host, port: group[0].Port}
		known := p.known(one)
		if known == nil {
			known = []server{one}
		}
		all = append(all, known...)
	}
	return all
}

// known returns the servers of the string that pgx tries for the host and port of one: see
// resolver.
func (p *passwords) known(one server) []server {
	var found []server
	for _, s := range p.servers {
		if s.host == one.host && (s.port == one.port || addressed(p.servers, s.host)) {
			found = append(found, s)
		}
	}
	return found
}

func (p *passwords) find(s server, user, database string) urlfix.Secret {
	password := p.passfile.password(s, user, database)
	if password.IsSet() && p.onFound != nil {
		p.onFound(password.Reveal())
	}
	return password
}

// attempts is one connect to several servers. It is safe for concurrent use, because a
// configuration may be copied from the connection that it made.
type attempts struct {
	passwords *passwords
	servers   []server

	mu    sync.Mutex
	names map[string][]string // the addresses of each host that was looked up
	given []urlfix.Secret
}

func (a *attempts) remember(host string, addrs []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names[host] = addrs
}

// fill sets the password for the server that conn leads to. pgconn does not say which one it is.
func (a *attempts) fill(config *pgconn.Config, conn net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	mine := func(s urlfix.Secret) bool { return s.Reveal() == config.Password }
	if config.Password != "" && !slices.ContainsFunc(a.given, mine) {
		return // the application's
	}
	password := a.passwordFor(config, conn)
	a.given = append(a.given, password)
	config.Password = password.Reveal()
}

// passwordFor returns the password of the server behind conn. If that is none of the servers, since
// the application dials in a way of its own, or may be one of several with different passwords, it
// returns none: the password of one server is not for another.
func (a *attempts) passwordFor(config *pgconn.Config, conn net.Conn) urlfix.Secret {
	candidates := a.behind(conn)
	if len(candidates) == 0 {
		return urlfix.Secret{}
	}
	first := a.passwords.find(candidates[0], config.User, config.Database)
	for _, s := range candidates[1:] {
		if a.passwords.find(s, config.User, config.Database).Reveal() != first.Reveal() {
			return urlfix.Secret{}
		}
	}
	return first
}

func (a *attempts) behind(conn net.Conn) []server {
	var found []server
	for _, s := range a.servers {
		if a.leadsTo(conn, s) {
			found = append(found, s)
		}
	}
	return found
}

func (a *attempts) leadsTo(conn net.Conn, s server) bool {
	switch remote := conn.RemoteAddr().(type) {
	case *net.UnixAddr:
		return s.isSocket() && leadsToSocket(s.host, s.port, remote)
	case *net.TCPAddr:
		return !s.isSocket() && remote.Port == int(s.port) && a.hasAddress(s, remote) && asked(conn, s.host)
	}
	return false
}

// hasAddress reports whether the server is at the address of remote.
func (a *attempts) hasAddress(s server, remote *net.TCPAddr) bool {
	addrs := []string{s.addr}
	if s.addr == "" {
		addrs = a.names[s.host]
	}
	return slices.ContainsFunc(addrs, func(text string) bool {
		if host, _, err := net.SplitHostPort(text); err == nil {
			text = host
		}
		addr, err := netip.ParseAddr(text)
		return err == nil && addr.Unmap().WithZone("") == remote.AddrPort().Addr().Unmap().WithZone("")
	})
}

// shakeHands makes TLS begin, which pgconn leaves to the first write: only then it is known which
// name it asked for.
func shakeHands(ctx context.Context, conn net.Conn) error {
	if secured, ok := conn.(*tls.Conn); ok {
		return secured.HandshakeContext(ctx)
	}
	return nil
}

// asked reports whether host is the name that TLS asked for on conn, if it asked for one: several
// servers may be behind one address, which tells them apart by that name.
func asked(conn net.Conn, host string) bool {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return true
	}
	name := secured.ConnectionState().ServerName
	return name == "" || strings.EqualFold(name, strings.TrimSuffix(host, "."))
}
