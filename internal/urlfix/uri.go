package urlfix

import (
	"net/netip"
	"strconv"
	"strings"
)

// parts is what a grammar finds in a string, decoded, before the parameters get their meaning.
type parts struct {
	user     string
	password string
	hosts    []Host // of the authority; nil if it is empty
	ports    bool   // the authority holds a port, or a list
	database string
	pairs    []pair
}

// pair is a parameter: key and value decoded, pos the offset of the key.
type pair struct {
	key   string
	value string
	pos   int
}

// readAuthority reads hosts and ports of s[from:end]. There, every host is tight: it is certain to
// be one.
func readAuthority(p *parts, s string, from, end int) *Error {
	if from == end {
		return nil
	}
	p.hosts = make([]Host, 0, 1+strings.Count(s[from:end], ","))
	for pos := from; pos <= end; {
		next := end
		if i := strings.IndexByte(s[pos:end], ','); i >= 0 {
			next = pos + i
			p.ports = true
		}
		name, port := cutPort(s[pos:next])
		host, reason := readHost(name)
		if reason != "" {
			return hostFault(s, pos, len(name), reason)
		}
		number, ok := readPort(port)
		if !ok {
			return fault(CodeValue, "port", pos+len(name)+1, "it is not a number from 1 to 65535", portHint)
		}
		if number != 0 {
			p.ports = true
		}
		p.hosts = append(p.hosts, Host{Name: host, Port: number})
		pos = next + 1
	}
	return nil
}

// cutPort splits "host:port"; a bracketed address holds colons of its own.
func cutPort(element string) (name, port string) {
	from := 0
	if strings.HasPrefix(element, "[") {
		from = strings.IndexByte(element, ']')
		if from < 0 {
			return element, ""
		}
		if from++; from < len(element) && element[from] != ':' {
			return element, "" // text after the bracket: no host
		}
	}
	i := strings.IndexByte(element[from:], ':')
	if i < 0 {
		return element, ""
	}
	return element[:from+i], element[from+i+1:]
}

// readHost returns the decoded host of an authority, or the reason why it is not tight. A raw "@"
// is never part of a tight host. libpq takes "@%2Fword@host" for a socket directory, and the URL
// libraries of most languages take the text before the last "@" for the password.
func readHost(name string) (host, reason string) {
	if strings.HasPrefix(name, "[") {
		inner, _, why := decode(strings.TrimSuffix(name[1:], "]"))
		if why != "" || !strings.HasSuffix(name, "]") || !ipv6(inner) {
			return "", "the text in brackets is not an IPv6 address"
		}
		return inner, ""
	}
	if strings.IndexByte(name, '@') >= 0 {
		return "", reasonRawAt
	}
	host, _, reason = decode(name)
	if reason != "" {
		return "", reason
	}
	return host, checkHost(host)
}

// checkHost returns the reason why a decoded host is none, or "".
func checkHost(host string) (reason string) {
	switch {
	case host == "":
		return ""
	case host[0] == '/':
		for i := range len(host) {
			if host[i] == ',' || control(host[i]) {
				return "a socket directory holds a comma or a control character"
			}
		}
		return ""
	case host[0] == '@':
		return reasonAbstract
	case strings.IndexByte(host, ':') >= 0:
		if ipv6(host) {
			return ""
		}
		return reasonNoHost
	}
	for i := range len(host) {
		if !hostNameChar(host[i]) {
			return reasonNoHost
		}
	}
	return ""
}

const (
	reasonNoHost   = "it holds a character that no host name has"
	reasonAbstract = "it is an abstract socket, which is not supported"
	reasonRawAt    = "it holds a raw \"@\", which may end the password"
)

// ipv6 reports whether s is an IPv6 address, with or without a zone.
func ipv6(s string) bool {
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Is6()
}

// readPort reads a port; 0 is an empty one.
func readPort(s string) (port uint16, ok bool) {
	if s == "" {
		return 0, true
	}
	text, _, reason := decode(s)
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), reason == "" && err == nil && n > 0
}

// hostFault adds where in a host the first odd character is, and of which kind.
func hostFault(s string, pos, length int, reason string) *Error {
	code := CodeValue
	if reason == reasonAbstract {
		code = CodeUnsupported
	}
	for i := pos; i < pos+length; i++ {
		if !hostNameChar(s[i]) && s[i] != '%' {
			if reason != reasonRawAt && !strings.Contains(reason, class(s[i])) {
				reason += " (" + class(s[i]) + ")"
			}
			return fault(code, "host", i, reason, hostShapeHint+"; "+encodeHint)
		}
	}
	return fault(code, "host", pos, reason, hostShapeHint)
}

// readPath reads the database name, s[from:end].
func readPath(p *parts, s string, from, end int) *Error {
	raw := s[from:end]
	if i := strings.IndexByte(raw, '@'); i >= 0 {
		return fault(CodeSyntax, "database", from+i, `it holds a raw "@"`, encodeHint+"; in a database name, write %40")
	}
	name, at, reason := decode(raw)
	if reason != "" {
		return fault(CodeSyntax, "database", from+at, reason, encodeHint)
	}
	p.database = name
	return nil
}

// readQuery reads the parameters after "?" as libpq does (conninfo_uri_parse_params): "&" separates
// them, one "=" is in each, "+" is a plus sign. Only the password may hold a raw "=" or "%".
func readQuery(p *parts, s string, from int, rules *dialect) *Error {
	if from >= len(s) {
		return nil
	}
	p.pairs = make([]pair, 0, 1+strings.Count(s[from:], "&"))
	for pos := from; pos < len(s); {
		end := len(s)
		if i := strings.IndexByte(s[pos:], '&'); i >= 0 {
			end = pos + i
		}
		one, err := readPair(s[pos:end], pos, rules)
		if err != nil {
			return err
		}
		p.pairs = append(p.pairs, one)
		pos = end + 1
	}
	return nil
}

// readPair reads one "key=value". libpq refuses a second "=", but in options it has one sense:
// options=--cluster=NAME of CockroachDB, options=endpoint=ID of Neon. The key is looked up at
// once, because what follows a raw "&" in a password looks like a key, too.
func readPair(raw string, pos int, rules *dialect) (pair, *Error) {
	eq := strings.IndexByte(raw, '=')
	if eq < 0 {
		return pair{}, fault(CodeSyntax, "query", pos, `a parameter has no "="`, encodeKVHint)
	}
	// Blanks around key and value are trimmed since libpq 18. Before, those around a key were an
	// error, and those around a value a part of it.
	rawKey, rawValue := raw[:eq], raw[eq+1:]
	trimmedKey, value := strings.Trim(rawKey, " "), strings.Trim(rawValue, " ")
	key, at, reason := decode(trimmedKey)
	if reason != "" {
		return pair{}, fault(CodeSyntax, "query", pos+at, reason, encodeKVHint)
	}
	r := rules.lookup(key)
	if r == nil {
		return pair{}, unknownKey(key, pos)
	}
	if value != rawValue && trimmedKey == rawKey && (r.use == usePassword || r.use == useUser) {
		return pair{}, fault(CodeAmbiguous, r.name, pos, "blanks are at its edge, and versions of libpq differ on them",
			encodeKVHint)
	}
	text, at, reason := decode(value)
	if r.use == usePassword && (reason != "" || strings.IndexByte(value, '=') >= 0) {
		return rawPassword(value, key, pos)
	}
	if reason != "" {
		return pair{}, fault(CodeSyntax, r.name, pos+eq+1+at, reason, encodeKVHint)
	}
	if i := strings.IndexByte(value, '='); i >= 0 && r.name != "options" {
		return pair{}, fault(CodeSyntax, r.name, pos+eq+1+i, `a second "=" is in it`, encodeKVHint)
	}
	return pair{key, text, pos}, nil
}

// rawPassword takes a password that libpq refuses as it stands, if that is its only sense.
func rawPassword(raw, key string, pos int) (pair, *Error) {
	if hasEscape(raw) {
		return pair{}, fault(CodeAmbiguous, "password", pos, "it holds both percent-escapes and raw special characters",
			encodeKVHint)
	}
	return pair{key, raw, pos}, nil
}

// readUserinfo reads "user:password", s[from:end], as libpq does.
func readUserinfo(p *parts, s string, from, end int) *Error {
	user, password, _ := strings.Cut(s[from:end], ":")
	text, at, reason := decode(user)
	if reason != "" {
		return fault(CodeSyntax, "user", from+at, reason, encodeHint)
	}
	p.user = text
	text, at, reason = decode(password)
	if reason != "" {
		return fault(CodeSyntax, "password", from+len(user)+1+at, reason, encodeHint)
	}
	p.password = text
	return nil
}
