package urlfix

import "strings"

// maxHosts bounds what a connection is configured for, host by host.
const maxHosts = 1000

// hosts merges the hosts of the authority with host and port of the query. libpq lets the query
// win, in silence; here both must agree. For a list of hosts, one port counts for all of them, and
// an empty element is the default.
func (b *builder) hosts() *Error {
	list, err := b.hostList()
	if err != nil {
		return err
	}
	if list, err = b.withAddresses(list); err != nil {
		return err
	}
	if b.seen.port.ok {
		if list, err = b.withPorts(list); err != nil {
			return err
		}
	}
	d := b.d
	if !b.seen.port.ok && !b.p.ports && len(list) > 1 {
		d.hostsInQuery = true
	}
	if len(list) == 1 && list[0].Name == "" {
		// An empty host that is given is the local socket, whatever PGHOST says.
		if d.hostsInQuery = b.seen.host.ok && b.seen.host.value == ""; !d.hostsInQuery && list[0].Port == 0 {
			list = nil
		}
	}
	if len(list) > maxHosts {
		return fault(CodeTooLong, "hosts", -1, "there are more than 1,000", "leave out what is not needed")
	}
	if len(list) > 1 && param(d, "hostaddr") == nil {
		for _, h := range list {
			if h.Name == "" {
				d.warn("host", "an empty element of the list is the local server")
				break
			}
		}
	}
	d.Hosts = list
	return nil
}

// hostList returns the hosts, with the ports of the authority.
func (b *builder) hostList() ([]Host, *Error) {
	list := b.p.hosts
	if !b.seen.host.ok {
		return list, nil
	}
	if b.rules.hostPorts && !b.seen.port.ok {
		b.cutHostPorts()
	}
	var named []Host
	for name := range strings.SplitSeq(b.seen.host.value, ",") {
		if inner := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"); len(inner)+2 == len(name) && ipv6(inner) {
			name = inner
			b.d.change("host", "the brackets around an IPv6 address were left out: only a URI has them before the query")
		}
		if reason := checkHost(name); reason != "" {
			if host, port := cutPort(name); host != "" && port != "" && checkHost(host) == "" {
				if _, ok := plainPort(port); ok {
					return nil, fault(CodeValue, "host", b.seen.host.pos, "it holds a port", "write the port as port=5432, say")
				}
			}
			return nil, namedHostFault(b.seen.host.pos, reason)
		}
		named = append(named, Host{Name: name})
	}
	switch {
	case len(list) > 1 || len(list) == 1 && list[0].Name != "":
		if sameNames(list, named) {
			return list, nil
		}
		if !b.rules.queryWins && !b.socketBesideLocalhost(list, named) {
			return nil, contradiction("host", b.seen.host.pos)
		}
		b.d.warn("host", "the host of the query replaces the one before it")
		if len(list) > 1 {
			b.p.ports = false
			return named, nil
		}
	}
	if len(list) == 1 && list[0].Port != 0 {
		for i := range named {
			named[i].Port = list[0].Port
		}
	}
	return named, nil
}

// socketBesideLocalhost reports whether the query names a socket directory, and localhost stands
// before it only because some URL libraries want a host: localhost/db?host=/cloudsql/INSTANCE.
// libpq, pgx, node-postgres and Prisma take the socket. lib/pq takes the one that sorts last
// (convertURL in connector.go), and so keeps localhost.
func (b *builder) socketBesideLocalhost(before, named []Host) bool {
	return b.rules.foreign &&
		len(before) == 1 && strings.EqualFold(before[0].Name, "localhost") &&
		len(named) == 1 && strings.HasPrefix(named[0].Name, "/")
}

// cutHostPorts takes the ports out of host=h1:5432,h2:5433 in a query, as asyncpg and SQLAlchemy
// do, if every element is a host, with a port or without.
func (b *builder) cutHostPorts() {
	var names, ports []string
	numbered := false
	for element := range strings.SplitSeq(b.seen.host.value, ",") {
		name, port := hostAndPort(element)
		if _, ok := plainPort(port); !ok || name == "" || checkHost(name) != "" {
			return
		}
		numbered = numbered || port != ""
		names, ports = append(names, name), append(ports, port)
	}
	if numbered {
		b.seen.host.value = strings.Join(names, ",")
		b.seen.port = given{true, strings.Join(ports, ","), b.seen.host.pos}
		b.d.change("host", "its ports were taken out of it; libpq would look up a name with a port in it")
	}
}

// namedHostFault is hostFault for a host parameter. Its value is decoded, so there is no position
// inside it to tell.
func namedHostFault(pos int, reason string) *Error {
	code := CodeValue
	if reason == reasonAbstract {
		code = CodeUnsupported
	}
	return fault(code, "host", pos, reason, hostShapeHint)
}

// sameNames reports whether two lists name the same hosts in the same order.
func sameNames(a, b []Host) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name {
			return false
		}
	}
	return true
}

// withAddresses counts the elements of hostaddr, which belong to the hosts one by one.
func (b *builder) withAddresses(list []Host) ([]Host, *Error) {
	addresses := param(b.d, "hostaddr")
	if addresses == nil {
		return list, nil
	}
	count := 1 + strings.Count(addresses.Value, ",")
	named := len(list) > 1 || len(list) == 1 && list[0].Name != ""
	if named && count != len(list) {
		return nil, fault(CodeValue, "hostaddr", -1, "the numbers of hosts and addresses differ",
			"give as many addresses as hosts; an element may be empty")
	}
	if !named && count > 1 {
		port := uint16(0)
		if len(list) == 1 {
			port = list[0].Port
		}
		list = make([]Host, count)
		for i := range list {
			list[i].Port = port
		}
	}
	if mode := param(b.d, "sslmode"); !named && mode != nil && mode.Value == "verify-full" {
		return nil, fault(CodeValue, "hostaddr", -1, "verify-full needs the name that the certificate must hold",
			"add host, which is then not looked up")
	}
	return list, nil
}

// withPorts applies the port parameter.
func (b *builder) withPorts(list []Host) ([]Host, *Error) {
	const part = "port"
	if len(list) == 0 {
		list = []Host{{}}
	}
	texts := strings.Split(b.seen.port.value, ",")
	if len(texts) != 1 && len(texts) != len(list) {
		return nil, fault(CodeValue, part, b.seen.port.pos, "the numbers of hosts and ports differ",
			"give one port, or as many ports as hosts")
	}
	for i := range list {
		text := texts[min(i, len(texts)-1)]
		n, ok := plainPort(text)
		if !ok {
			return nil, fault(CodeValue, part, b.seen.port.pos, "it is not a number from 1 to 65535",
				"write port=5432, say, or leave it out")
		}
		if n == 0 && len(list) == 1 {
			n = 5432 // an empty port that is given is the default, whatever PGPORT says
		}
		if list[i].Port != 0 && list[i].Port != n && !b.rules.queryWins {
			return nil, contradiction("port", b.seen.port.pos)
		}
		list[i].Port = n
	}
	return list, nil
}

// plainPort is readPort without percent-escapes, for a value that is decoded already. Blanks around
// it are libpq's (parse_int_param).
func plainPort(s string) (uint16, bool) {
	if strings.IndexByte(s, '%') >= 0 {
		return 0, false
	}
	return readPort(strings.Trim(s, " "))
}
