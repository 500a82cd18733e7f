package urlfix

import (
	"cmp"
	"strconv"
	"strings"
)

// sqlalchemyDialect returns the rules for a scheme "postgresql+driver" of SQLAlchemy, or nil.
func sqlalchemyDialect(scheme string) *dialect {
	name, driver, _ := strings.Cut(scheme, "+")
	switch {
	case name == "cockroachdb" && driver == "":
		return sqlalchemyDrivers["psycopg2"] // SQLAlchemy's default
	case name == "postgresql" || name == "postgres" || name == "cockroachdb" || name == "redshift" ||
		name == "timescaledb":
		return sqlalchemyDrivers[driver]
	}
	return nil
}

var sqlalchemyDrivers = map[string]*dialect{
	"psycopg2":      sqlalchemyDriver("sqlalchemy+psycopg2", &psycopgTool),
	"psycopg2cffi":  sqlalchemyDriver("sqlalchemy+psycopg2", &psycopgTool),
	"aiopg":         sqlalchemyDriver("sqlalchemy+psycopg2", &psycopgTool),
	"psycopg":       sqlalchemyDriver("sqlalchemy+psycopg", &psycopgTool),
	"psycopg_async": sqlalchemyDriver("sqlalchemy+psycopg", &psycopgTool),
	"asyncpg":       sqlalchemyDriver("sqlalchemy+asyncpg", &saAsyncpgTool),
	"pg8000":        sqlalchemyDriver("sqlalchemy+pg8000", &saPg8000Tool),
}

// sqlalchemyDriver makes the rules for one driver. Server settings as keys are unknown to all of
// them.
func sqlalchemyDriver(name string, t *tool) *dialect {
	_, driver, _ := strings.Cut(name, "+")
	return &dialect{
		name: name, answers: []string{"sqlalchemy", driver}, read: parseSQLAlchemy, tool: t,
		query: queryForm, queryWins: true, hostPorts: true,
	}
}

// psycopgTool: SQLAlchemy hands every key to libpq, which knows no server settings and no "ssl"
// outside of URIs.
var psycopgTool = tool{name: "SQLAlchemy", finishLater: finishSQLAlchemy, rules: with(table(
	&rule{name: "ssl", use: useRefuse, hint: "psycopg does not know it; write sslmode=require or sslmode=verify-full"},
), engineRules)}

// saAsyncpgTool: dialects/postgresql/asyncpg.py, and SSLMode.parse in asyncpg's connect_utils.py.
var saAsyncpgTool = tool{name: "SQLAlchemy", finishLater: finishSQLAlchemy, rules: with(table(
	&rule{name: "ssl", use: useSSL, check: checkSSLMode,
		hint: "asyncpg fails on ssl=true; write ssl=verify-full, or ssl=require for an unverified connection"},
	&rule{name: "prepared_statement_cache_size", use: useLater, check: checkCount},
	&rule{name: "statement_cache_size", use: useLater, check: checkCount},
	&rule{name: "prepared_statement_name_func", use: useRefuse, hint: notYetHint},
	ignored("async_fallback", ""),
), engineRules)}

// saPg8000Tool: dialects/postgresql/pg8000.py hands every key to connect of pg8000 (core.py), which
// takes unix_sock in place of host and port.
var saPg8000Tool = tool{name: "SQLAlchemy", finishLater: finishPg8000, rules: with(table(
	&rule{name: "ssl", use: useRefuse, hint: "write sslmode=require or sslmode=verify-full"},
	&rule{name: "unix_sock", use: useLater, check: checkSocketFile,
		hint: "write unix_sock=/DIRECTORY/.s.PGSQL.5432, or host=/DIRECTORY"},
), engineRules)}

// checkSocketFile reads the file of a unix socket.
func checkSocketFile(value string) (string, string) {
	dir, port, found := strings.Cut(value, "/.s.PGSQL.")
	if number, ok := plainPort(port); !found || !ok || number == 0 || checkHost(dir) != "" || !strings.HasPrefix(dir, "/") {
		return "", "the value is no socket of PostgreSQL"
	}
	return value, ""
}

// finishPg8000 makes host and port of the file of a socket.
func finishPg8000(b *builder) *Error {
	if socket := b.later("unix_sock"); socket.ok {
		dir, port, _ := strings.Cut(socket.value, "/.s.PGSQL.")
		if host := b.seen.host; host.ok && host.value != dir {
			return contradiction("host", max(host.pos, socket.pos))
		}
		b.seen.host, b.seen.port = given{true, dir, socket.pos}, given{true, port, socket.pos}
		b.d.change("unix_sock", "became host and port")
	}
	return finishSQLAlchemy(b)
}

// engineRules are parameters of create_engine. In a URL, SQLAlchemy hands them to the driver, which
// fails on them.
var engineRules = []*rule{
	{name: "pool_size", use: useLater, check: checkCount},
	{name: "max_overflow", use: useLater, check: checkOverflow},
	{name: "pool_timeout", use: usePool, to: "pool_acquire_timeout", check: checkSeconds},
	{name: "pool_recycle", use: usePool, to: "pool_max_conn_lifetime", check: checkSeconds, drop: []string{"-1"}},
	{name: "pool_pre_ping", use: useIgnore},
	{name: "pool_use_lifo", use: useIgnore},
	{name: "echo", use: useIgnore, drop: []string{"False", "false"},
		warn: "left out: pgx logs statements, with a tracer in the configuration"},
}

// checkOverflow reads a number that may be -1, for no limit.
func checkOverflow(value string) (string, string) {
	if value == "-1" {
		return value, ""
	}
	return checkCount(value)
}

// finishSQLAlchemy translates the parameters whose meaning depends on others.
func finishSQLAlchemy(b *builder) *Error {
	b.enginePool()
	return finishStatementCache(b)
}

// enginePool: a pool keeps pool_size connections and opens max_overflow more when they are in use.
// Each has a default (QueuePool in pool/impl.py), and a value for no limit.
func (b *builder) enginePool() {
	size, overflow := b.later("pool_size"), b.later("max_overflow")
	if !size.ok && !overflow.ok || size.value == "0" || overflow.value == "-1" {
		return
	}
	kept, _ := strconv.ParseInt(cmp.Or(size.value, "5"), 10, 64)
	more, _ := strconv.ParseInt(cmp.Or(overflow.value, "10"), 10, 64)
	b.set(&b.d.Pool, "pool_max_conns", strconv.FormatInt(kept+more, 10))
	b.d.change("pool_size", "became pool_max_conns, together with max_overflow")
}

// finishStatementCache: without a cache, no statement is prepared under a name.
func finishStatementCache(b *builder) *Error {
	for _, name := range [...]string{"prepared_statement_cache_size", "statement_cache_size"} {
		switch g := b.later(name); {
		case !g.ok:
		case g.value == "0":
			b.set(&b.d.Driver, "default_query_exec_mode", "exec")
			b.d.change(name, "became default_query_exec_mode=exec")
		default:
			b.d.warn(name, "ignored; use statement_cache_capacity")
		}
	}
	return nil
}

// parseSQLAlchemy reads a URL as _parse_url in engine/url.py does, where that gives a tight
// authority. The password ends at the first "@" after its colon, whatever is in it.
func parseSQLAlchemy(d *DSN, s string, base int, rules *dialect) *Error {
	d.Dialect = rules.name
	if strings.IndexByte(s[:base], '+') >= 0 {
		d.change("scheme", "the name of SQLAlchemy's driver was cut off")
	}
	at := sqlalchemyUserinfo(s, base)
	from := base
	if at != noUserinfo {
		from = at + 1
	}
	if !tightAuthority(s, from) {
		var p parts
		return parseRecovered(d, s, base, rules, noUserinfo, readAuthority(&p, s, from, authorityEnd(s, from)))
	}
	s = blanksInPath(s, authorityEnd(s, from))
	var p parts
	if err := readRest(&p, s, from, rules); err != nil {
		return err
	}
	if at != noUserinfo {
		if err := readUnquoted(&p, s, base, at); err != nil {
			return err
		}
		if shorterReading(s, base, at, rules) {
			return fault(CodeAmbiguous, "string", at, severalReadings(s, base), encodeHint)
		}
	}
	return build(d, rules, &p)
}

// blanksInPath encodes blanks inside the database's name, where SQLAlchemy takes them as they are.
func blanksInPath(s string, from int) string {
	end := from + indexAny(s[from:], "?")
	path := s[from:end]
	if strings.IndexByte(path, ' ') < 0 || strings.TrimRight(path, " ") != path || strings.HasPrefix(path, "/ ") {
		return s
	}
	return s[:from] + strings.ReplaceAll(path, " ", "%20") + s[end:]
}

// sqlalchemyUserinfo is (?P<username>[^:/]*)(?::(?P<password>[^@]*))?@ of the pattern in
// engine/url.py: the offset of the "@". The user takes all it can, even an "@".
func sqlalchemyUserinfo(s string, base int) int {
	end := base
	for end < len(s) && s[end] != ':' && s[end] != '/' {
		end++
	}
	if end < len(s) && s[end] == ':' {
		if i := strings.IndexByte(s[end:], '@'); i >= 0 {
			return end + i
		}
	}
	if i := strings.LastIndexByte(s[base:end], '@'); i >= 0 {
		return base + i
	}
	return noUserinfo
}

// shorterReading reports whether the string is whole and clear with the userinfo ending before at,
// too: then what SQLAlchemy takes for the password may well be host, port and database.
func shorterReading(s string, base, at int, rules *dialect) bool {
	colon := strings.IndexByte(s[base:at], ':')
	if colon < 0 {
		return false
	}
	from := base + 1 + strings.LastIndexByte(s[base:base+colon], '@')
	if !tightAuthority(s, from) {
		return false
	}
	var p parts
	return readRest(&p, s, from, rules) == nil
}

// readUnquoted reads "user:password" as _parse_url does: unquote leaves "+" and bad escapes alone.
func readUnquoted(p *parts, s string, base, at int) *Error {
	user, password, _ := strings.Cut(s[base:at], ":")
	var ok bool
	if p.user, ok = decodeLenient(user, false); !ok {
		return fault(CodeValue, "user", base, "the percent-escapes do not decode to UTF-8", encodeHint)
	}
	if p.password, ok = decodeLenient(password, false); !ok {
		return fault(CodeValue, "password", base, "the percent-escapes do not decode to UTF-8", encodeHint)
	}
	return nil
}

// readForm reads the parameters as Python's parse_qsl: "+" is a blank, "=" may be in a value, a bad
// escape stands for itself. A repeated host is a list, and may carry ports
// (_split_multihost_from_url in dialects/postgresql/base.py).
func readForm(p *parts, s string, from int, rules *dialect) *Error {
	var hosts []pair
	for pos := from; pos < len(s); {
		end := len(s)
		if i := strings.IndexByte(s[pos:], '&'); i >= 0 {
			end = pos + i
		}
		one, err := readUnquotedPair(s[pos:end], pos, rules)
		if err != nil {
			return err
		}
		if one.key == "host" {
			hosts = append(hosts, one)
		} else if repeated(p.pairs, one.key) {
			return fault(CodeConflict, one.key, pos, "it is given twice", "leave one of the two out")
		} else {
			p.pairs = append(p.pairs, one)
		}
		pos = end + 1
	}
	return addHostList(p, hosts)
}

// readUnquotedPair reads one parameter of a form. Unlike parse_qsl, it does not skip one without
// "=".
func readUnquotedPair(raw string, pos int, rules *dialect) (pair, *Error) {
	rawKey, rawValue, found := strings.Cut(raw, "=")
	if !found {
		return pair{}, fault(CodeSyntax, "query", pos, `a parameter has no "="`, encodeKVHint)
	}
	plus := rules.query == queryForm
	key, ok := decodeLenient(rawKey, plus)
	if !ok || rules.lookup(key) == nil {
		return pair{}, unknownKey(key, pos)
	}
	value, ok := decodeLenient(rawValue, plus)
	if !ok {
		return pair{}, fault(CodeValue, rules.lookup(key).name, pos, "the percent-escapes do not decode to UTF-8",
			encodeKVHint)
	}
	return pair{key, value, pos}, nil
}

// repeated reports whether a key is there already. SQLAlchemy makes a tuple of it, on which the
// drivers fail.
func repeated(pairs []pair, key string) bool {
	for _, p := range pairs {
		if p.key == key {
			return true
		}
	}
	return false
}

// addHostList turns host=h1:1&host=h2:2 and host=h:1 into one host and one port parameter.
func addHostList(p *parts, hosts []pair) *Error {
	if len(hosts) == 0 {
		return nil
	}
	if len(hosts) == 1 && (strings.IndexByte(hosts[0].value, ',') >= 0 || strings.HasPrefix(hosts[0].value, "/")) {
		p.pairs = append(p.pairs, hosts[0])
		return nil
	}
	names := make([]string, len(hosts))
	ports := make([]string, len(hosts))
	anyPort := false
	for i, h := range hosts {
		names[i], ports[i] = hostAndPort(h.value)
		anyPort = anyPort || ports[i] != ""
	}
	p.pairs = append(p.pairs, pair{"host", strings.Join(names, ","), hosts[0].pos})
	if !anyPort {
		return nil
	}
	if repeated(p.pairs, "port") {
		return fault(CodeConflict, "port", hosts[0].pos, "ports are given with the hosts, and again",
			"leave the parameter port out")
	}
	p.pairs = append(p.pairs, pair{"port", strings.Join(ports, ","), hosts[0].pos})
	return nil
}

// hostAndPort splits a host that may have a port. An IPv6 address keeps its colons, and loses its
// brackets.
func hostAndPort(text string) (name, port string) {
	name = text
	if checkHost(text) != "" {
		name, port = cutPort(text)
	}
	return strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"), port
}
