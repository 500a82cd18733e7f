package urlfix

import "strings"

// ectoURI is what Ecto reads: parse_url in lib/ecto/repo/supervisor.ex, and the options of
// Postgrex.
var ectoURI = dialect{name: "ecto", read: parseEcto, tool: &ectoTool, query: queryForm}

var ectoTool = tool{
	name:    "Ecto",
	private: []string{"currentSchema", "hostname", "username", "pool_timeout", "socket", "parameters", "endpoints"},
	finish:  finishEcto,
	rules: table(
		&rule{name: "ssl", use: useLater, check: oneOf("true", "false"), hint: "Ecto knows ssl=true and ssl=false"},
		&rule{name: "hostname", use: useHost},
		&rule{name: "username", use: useUser},
		&rule{name: "socket_dir", use: useHost, to: "host"},
		refused("socket", "name its directory as socket_dir"),
		refused("endpoints", "write HOST1:PORT1,HOST2:PORT2 before the database"),
		refused("parameters", "write each server setting as a key of its own"),
		&rule{name: "connect_timeout", check: checkMillisAsSeconds, drop: []string{"infinity"}},
		timeout,
		ignored("handshake_timeout", "left out: connect_timeout is for the whole way to a connection"),
		ignored("ping_timeout", "left out: pool_ping_timeout is its equal"),
		ignored("currentSchema", "left out: Ecto takes it, and Postgrex does not look at it; write search_path"),
		&rule{name: "target_server_type", to: "target_session_attrs",
			check: oneOfThese("any", "any", "primary", "primary", "secondary", "standby")},

		poolSize,
		&rule{name: "pool_timeout", use: usePool, to: "pool_acquire_timeout", check: checkMillis, drop: []string{"infinity"}},
		ignored("pool_count", "left out: there is one pool"),
		ignored("idle_interval",
			"left out: Ecto asks idle connections for a sign of life; here, a connection is checked when it is taken"),
		ignored("idle_limit",
			"left out: Ecto asks idle connections for a sign of life; here, a connection is checked when it is taken"),
		ignored("queue_target", "left out: Ecto sheds load by it; pool_acquire_timeout limits the wait for a connection"),
		ignored("queue_interval", "left out: Ecto sheds load by it; pool_acquire_timeout limits the wait for a connection"),
		prepare,
		ignored("show_sensitive_data_on_connection_error", "left out: errors never show a secret"),
		ignored("stacktrace", ""),
		ignored("log", ""),
	),
}

// finishEcto translates the parameters whose meaning depends on others. Postgrex verifies with the
// roots of the system.
func finishEcto(b *builder) *Error {
	switch ssl := b.later("ssl"); {
	case ssl.value == "true" && b.seen.mode.ok && b.seen.mode.value != "verify-full":
		return contradictsSSL(max(ssl.pos, b.seen.mode.pos))
	case ssl.value == "true" || b.sslVerifies():
		b.verify()
		b.d.change("ssl", "became sslmode=verify-full with the roots of the system")
	case ssl.value == "false" && b.seen.mode.ok && b.seen.mode.value != "disable":
		return contradictsSSL(ssl.pos)
	case ssl.value == "false":
		b.setMode("disable")
		b.d.change("ssl", "became sslmode=disable")
	}
	b.finishPrepare()
	return nil
}

// parseEcto reads a URI whose path must be the name of a database, and no more.
func parseEcto(d *DSN, s string, base int, rules *dialect) *Error {
	if err := parseWeb(d, s, base, rules); err != nil {
		return err
	}
	if d.Database == "" || strings.IndexByte(d.Database, '/') >= 0 {
		return fault(CodeSyntax, "database", -1, "the path must be the name of a database",
			"write ecto://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	return nil
}
