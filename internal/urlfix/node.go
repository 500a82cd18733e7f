package urlfix

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// nodeURI is what node-postgres reads: pg-connection-string/index.js, and connection-parameters.js
// and client.js of pg. The scheme pg is dburl's as well, which hands everything to lib/pq: so
// server settings are accepted.
var nodeURI = dialect{name: "node", read: parseNode, tool: &nodeTool, query: queryForm, queryWins: true, settings: true}

// nodeSocket is node-postgres' form for a socket directory.
var nodeSocket = dialect{name: "node", read: parseNodeSocket, tool: &nodeTool, query: queryForm, settings: true}

// nodeTool are the parameters of a client and of a pool (client.js, pg-pool/index.js).
var nodeTool = tool{name: "node-postgres", finish: finishNode, private: []string{"db"}, rules: table(
	&rule{name: "db", use: useDatabase}, // of a socket: URL
	&rule{name: "sslmode", use: useLater, check: nodeMode,
		hint: "it is one of disable, prefer, require, verify-ca, verify-full, no-verify"},
	&rule{name: "ssl", use: useLater, check: nodeSSL,
		hint: "write sslmode=verify-full, or sslmode=no-verify for an unverified connection"},
	&rule{name: "uselibpqcompat", use: useLater},
	&rule{name: "connectionTimeoutMillis", to: "connect_timeout", check: checkMillisAsSeconds},
	&rule{name: "keepAlive", to: "keepalives", check: anyCase(oneOfThese("true", "1", "false", "0"))},
	&rule{name: "keepAliveInitialDelayMillis", to: "keepalives_idle", check: checkMillisAsSeconds},
	maxConns,
	&rule{name: "poolSize", use: usePool, to: "pool_max_conns", check: checkPositive},
	&rule{name: "min", use: usePool, to: "pool_min_idle_conns", check: checkCount, drop: []string{"0"}},
	&rule{name: "idleTimeoutMillis", use: usePool, to: "pool_max_conn_idle_time", check: checkMillis, drop: []string{"0"}},
	&rule{name: "maxLifetimeSeconds", use: usePool, to: "pool_max_conn_lifetime", check: checkSeconds,
		drop: []string{"0"}},
	ignored("maxUses",
		"left out: node-postgres closes a connection after so many uses; pool_max_conn_lifetime closes it after a time"),
	ignored("query_timeout",
		"left out: node-postgres gives up on a query after this time; "+
			"give the query a context with a deadline, or set statement_timeout"),
	encoding,
	ignored("allowExitOnIdle", ""),
	ignored("binary", ""),
	ignored("enableChannelBinding",
		"left out: channel binding is used where the server offers it, as with channel_binding=prefer"),
	ignored("parseInputDatesAsUTC", ""),
)}

// parseNode reads a URI by the WHATWG's URL standard, as parse in index.js does.
func parseNode(d *DSN, s string, base int, rules *dialect) *Error {
	// A socket directory as the host is part of the database's name if the query names a host.
	directory := ""
	authority := s[base : base+indexAny(s[base:], "/?#")]
	if rest := s[base+1+strings.LastIndexByte(authority, '@'):]; startsWithEscapedSlash(rest) {
		directory = rest[:indexAny(rest, ":/?#")]
	}
	return parseWebForm(d, s, base, rules, webForm{path: decodeURI, settle: func(d *DSN, p *parts) *Error {
		overrideUserinfo(d, p)
		if directory != "" && valueOf(p.pairs, "host") != "" {
			d.warn("database",
				"the socket directory before it became a part of it, as in node-postgres, since the query names a host")
			p.hosts[0].Name, p.database = "", directory+"/"+p.database
		}
		pathWins(d, p)
		return nil
	}})
}

func startsWithEscapedSlash(s string) bool {
	return len(s) >= 3 && strings.EqualFold(s[:3], "%2f")
}

// overrideUserinfo: user and password of the query replace those before the host, unless they are
// empty.
func overrideUserinfo(d *DSN, p *parts) {
	for _, one := range [...]struct {
		key  string
		text *string
	}{{"user", &p.user}, {"password", &p.password}} {
		value := valueOf(p.pairs, one.key)
		switch {
		case value == "":
			p.pairs = slices.DeleteFunc(p.pairs, func(other pair) bool { return other.key == one.key })
		case *one.text != "" && *one.text != value:
			d.warn(one.key, "the one of the query replaces the one before the host")
			*one.text = ""
		}
	}
}

// valueOf returns the last value of a parameter.
func valueOf(pairs []pair, key string) string {
	for _, one := range slices.Backward(pairs) {
		if one.key == key {
			return one.value
		}
	}
	return ""
}

// decodeURI is JavaScript's: the escapes of characters that separate the parts of a URI stand for
// themselves, and bad ones are taken as they are.
func decodeURI(raw string) (text string, ok bool) {
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if escapeAt(raw, i) {
			decoded := nibble(raw[i+1])<<4 | nibble(raw[i+2])
			if decoded == 0 {
				return "", false
			}
			if strings.IndexByte(";/?:@&=+$,#", decoded) < 0 {
				c = decoded
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b), utf8.Valid(b)
}

// parseNodeSocket reads socket:/DIRECTORY?db=NAME and socket://USER:PASSWORD@/DIRECTORY?db=NAME.
func parseNodeSocket(d *DSN, s string, base int, rules *dialect) *Error {
	if s[len(s)-1] == ' ' {
		return endsWithBlank(s)
	}
	d.Dialect = rules.name
	var p parts
	path := base
	if strings.HasSuffix(s[:base], "//") {
		path = base + indexAny(s[base:], "/?#")
		at := strings.LastIndexByte(s[base:path], '@')
		if at+1 < path-base {
			return fault(CodeSyntax, "host", base+at+1, "a socket has none", shapeSocket)
		}
		if at >= 0 {
			if err := readUnquoted(&p, s, base, base+at); err != nil {
				return err
			}
		}
	}
	end := path + indexAny(s[path:], "?")
	directory, ok := decodeURI(s[path:end])
	switch {
	case !strings.HasPrefix(directory, "/"):
		return fault(CodeSyntax, "host", path, "the socket directory does not start with a slash", shapeSocket)
	case strings.Contains(s[path:end], "@") || strings.Contains(s[path:], "#") || !ok:
		return fault(CodeSyntax, "host", path, `a raw "@" or "#" follows, or an escape that is not UTF-8`, encodeHint)
	case checkHost(directory) != "":
		return namedHostFault(path, checkHost(directory))
	}
	if err := readWebQuery(&p, s, end+1, rules); err != nil {
		return err
	}
	for i := range p.pairs {
		if one := &p.pairs[i]; one.key == encoding.name {
			one.key = "client_encoding"
		}
	}
	if err := checkRepeated(p.pairs, rules); err != nil {
		return err
	}
	p.hosts = []Host{{Name: directory}}
	overrideUserinfo(d, &p)
	return build(d, rules, &p)
}

const shapeSocket = "write socket:/DIRECTORY?db=DATABASE, or postgres:///DATABASE?host=/DIRECTORY"

// nodeMode knows the values that have a meaning. node-postgres takes every other text for
// verify-full.
func nodeMode(value string) (string, string) {
	switch value {
	case "", "no-verify":
		return value, ""
	}
	return checkSSLMode(value)
}

// nodeSSL: any text that is not empty turns TLS on in JavaScript, and the certificate is checked;
// only no-verify does not. "false" is documented to turn it off.
func nodeSSL(value string) (string, string) {
	switch value {
	case "0", "false":
		return "disable", ""
	case "no-verify":
		return "require", ""
	case "1", "true", "prefer", "require", "verify-ca", "verify-full":
		return "verify-full", ""
	}
	return "", "node-postgres takes every text for true, and this one hardly means that"
}

// finishNode finds the sslmode, as parse in index.js does, for a URI that is known to be
// node-postgres'. In a plain URI, an sslmode that libpq knows as well keeps libpq's meaning.
func finishNode(b *builder) *Error {
	if b.rules.tool == nil {
		return b.nodeInPlainURI()
	}
	mode, ssl := b.later("sslmode"), b.later("ssl")
	switch {
	case mode.value != "" && ssl.ok && ((mode.value == "disable") != (ssl.value == "disable") ||
		ssl.value == "verify-full" && b.nodeMode(mode.value) != "verify-full"):
		return contradictsSSL(max(mode.pos, ssl.pos))
	case mode.value != "":
		b.decideMode(b.nodeMode(mode.value), mode.pos)
	case b.nodeImpliesTLS():
		b.decideMode("verify-full", -1)
		b.d.change("sslmode",
			"became verify-full: node-postgres turns TLS on when it is given a certificate, a key or sslnegotiation=direct")
	case ssl.ok:
		b.decideMode(ssl.value, ssl.pos)
		b.d.change("ssl", "became sslmode")
	}
	return nil
}

// nodeMode is the mode that node-postgres means by a value of sslmode.
func (b *builder) nodeMode(value string) string {
	compatible := b.nodeCompatible()
	switch {
	case value == "disable", value == "verify-full":
		return value
	case compatible && (value == "prefer" || value == "require"):
		// It never falls back to plain text.
		return "require"
	case compatible && value == "verify-ca":
		return value
	case !compatible && value == "no-verify":
		if param(b.d, "sslrootcert") != nil {
			b.remove(&b.d.Params, "sslrootcert")
			b.d.warn("sslrootcert", "left out: with sslmode=no-verify, node-postgres checks no certificate")
		}
		return "require"
	}
	b.d.change("sslmode", "became verify-full, which it is to node-postgres 8")
	return "verify-full"
}

// nodeCompatible reports whether sslmode has libpq's meaning, as far as node-postgres has one for
// it.
func (b *builder) nodeCompatible() bool { return b.later("uselibpqcompat").value == "true" }

// nodeImpliesTLS reports whether a parameter turns TLS on that is not about that.
func (b *builder) nodeImpliesTLS() bool {
	for _, key := range [...]string{"sslcert", "sslkey", "sslrootcert"} {
		if param(b.d, key) != nil {
			return true
		}
	}
	p := param(b.d, "sslnegotiation")
	return p != nil && p.Value == "direct" && !b.later("ssl").ok
}

// nodeInPlainURI is for plain URIs with keys that node-postgres has.
func (b *builder) nodeInPlainURI() *Error {
	mode := b.seen.mode
	if b.sslVerifies() || !b.solely("node-postgres") && !b.later("uselibpqcompat").ok {
		return nil
	}
	switch {
	case b.nodeCompatible() && mode.ok:
		b.decideMode(b.nodeMode(b.seen.modeText), mode.pos)
	case mode.ok && mode.value != "disable" && mode.value != "verify-full" && b.seen.modeText != "no-verify":
		b.d.warn("sslmode", "it has libpq's meaning here; to node-postgres 8 it is verify-full")
	case !mode.ok && !b.seen.modeByAlias.ok && b.nodeImpliesTLS():
		b.decideMode("verify-full", -1)
		b.d.change("sslmode",
			"became verify-full: node-postgres turns TLS on when it is given a certificate, a key or sslnegotiation=direct")
	}
	return nil
}
