package urlfix

import (
	"slices"
	"strings"
)

// asyncpgURI is what asyncpg reads: _parse_connect_dsn_and_args in connect_utils.py. What it does
// not know is a server setting to it.
var asyncpgURI = dialect{name: "asyncpg", read: parseAsyncpg, tool: &asyncpgTool, query: queryForm, settings: true}

// asyncpgTool are the parameters of a connection and of a pool (connection.py, pool.py). Some are
// taken from the URI by encode/databases (backends/asyncpg.py), which is where ssl=true comes from,
// too.
var asyncpgTool = tool{name: "asyncpg", finish: finishAsyncpg, rules: table(
	&rule{name: "ssl", use: useLater, check: asyncpgSSL,
		hint: "write sslmode=require, or sslmode=verify-full to check the server's certificate"},
	&rule{name: "min_size", use: usePool, to: "pool_min_idle_conns", check: checkCount, drop: []string{"0"}},
	&rule{name: "max_size", use: usePool, to: "pool_max_conns", check: checkPositive},
	&rule{name: "max_inactive_connection_lifetime", use: usePool, to: "pool_max_conn_idle_time", check: checkFraction,
		drop: []string{"0"}},
	ignored("max_queries",
		"left out: asyncpg replaces a connection after so many queries; pool_max_conn_lifetime replaces it after a time"),
	ignored("command_timeout",
		"left out: asyncpg ends a query after this time; give the query a context with a deadline, or set statement_timeout"),
	statementCacheSize,
	ignored("max_cached_statement_lifetime", ""),
	ignored("max_cacheable_statement_size", ""),
	&rule{name: "server_settings", use: useRefuse, hint: "write each setting as a parameter of its own"},
	&rule{name: "direct_tls", use: useRefuse,
		hint: "write sslnegotiation=direct and sslmode=require, or sslmode=verify-full to check the server's certificate"},
)}

// parseAsyncpg: asyncpg looks for the first "@", and fails on a second one, which it takes into the
// host.
func parseAsyncpg(d *DSN, s string, base int, rules *dialect) *Error {
	return parseWebOnce(d, s, base, rules, webForm{path: unquote, settle: settleAsyncpg})
}

// settleAsyncpg: the path outranks the database of the query, and the hosts of the query carry
// ports and brackets (_parse_hostlist). That the host before the path outranks the one of the
// query, to which libpq gives the preference, is left as a contradiction.
func settleAsyncpg(d *DSN, p *parts) *Error {
	pathWins(d, p)
	var list []pair
	p.pairs = slices.DeleteFunc(p.pairs, func(one pair) bool {
		if one.key != "host" {
			return false
		}
		list = list[:0]
		for name := range strings.SplitSeq(one.value, ",") {
			list = append(list, pair{"host", name, one.pos})
		}
		return true
	})
	return addHostList(p, list)
}

// asyncpgSSL reads what encode/databases takes, and what its users write in the place of sslmode.
func asyncpgSSL(value string) (string, string) {
	switch strings.ToLower(value) {
	case "true":
		return "true", ""
	case "false":
		return "disable", ""
	}
	return checkSSLMode(value)
}

// finishAsyncpg: ssl=True is Python's ssl.create_default_context, which checks certificate and name
// against the roots of the system.
func finishAsyncpg(b *builder) *Error {
	b.finishStatementCacheSize()
	switch ssl := b.later("ssl"); {
	case !ssl.ok:
		if b.sslVerifies() {
			b.verify()
		}
	case ssl.value == "true":
		if mode := b.seen.mode; mode.ok && mode.value != "verify-full" {
			return contradictsSSL(max(mode.pos, ssl.pos))
		}
		b.verify()
		b.d.change("ssl", "became sslmode=verify-full, with the system's certificate authorities")
	default:
		b.seen.modeByAlias = ssl
		if !b.seen.mode.ok {
			b.setMode(ssl.value)
		}
	}
	return nil
}

// contradictsSSL is the error for ssl and sslmode of which one turns on what the other turns off.
func contradictsSSL(pos int) *Error {
	return fault(CodeConflict, "sslmode", pos, "ssl and sslmode contradict each other", "leave ssl out")
}
