package urlfix

// postgresjsURI is what postgres.js reads: parseOptions and parseUrl in src/index.js, and
// src/connection.js. What it does not know is a startup parameter to it, that is, a server setting.
var postgresjsURI = dialect{name: "postgresjs", read: parsePostgresJS, tool: &postgresjsTool, query: queryForm,
	settings: true}

var postgresjsTool = tool{name: "postgres.js", finish: finishPostgresJS, rules: table(
	&rule{name: "sslmode", use: useLater, check: checkPostgresJSMode, hint: hintSSLMode},
	&rule{name: "ssl", use: useLater, check: checkPostgresJSMode,
		hint: "write ssl=require, or ssl=verify-full to check the server's certificate"},
	maxConns,
	idleTimeout,
	&rule{name: "max_lifetime", use: usePool, to: "pool_max_conn_lifetime", check: checkFraction, drop: []string{"0"}},
	&rule{name: "keep_alive", use: useLater, check: checkCount},
	prepare,
	ignored("max_pipeline", ""),
	ignored("backoff", "left out: a connection that fails is an error at once"),
	ignored("debug", ""),
	ignored("fetch_types", ""),
	ignored("publications", "left out: it is for logical replication"),
)}

// parsePostgresJS reads a URI by the WHATWG's URL standard. The database before the query is the
// only one. postgres.js leaves it encoded, so that it is only found if it needs no encoding.
func parsePostgresJS(d *DSN, s string, base int, rules *dialect) *Error {
	return parseWebForm(d, s, base, rules, webForm{path: unquote, settle: func(d *DSN, p *parts) *Error {
		pathWins(d, p)
		return nil
	}})
}

// checkPostgresJSMode refuses the values that turn TLS on in postgres.js, where every text is true,
// and hardly mean that.
func checkPostgresJSMode(value string) (string, string) {
	switch value {
	case "", "0", "off", "no", "null", "undefined":
		return "", "postgres.js takes every text for true, and this one hardly means that"
	}
	return value, ""
}

// postgresjsMode is the meaning of ssl and sslmode in secure of src/connection.js: the certificate
// is checked with every text that it does not know.
func postgresjsMode(value string) string {
	switch value {
	case "disable", "false":
		return "disable"
	case "prefer":
		return "prefer"
	case "allow", "require": // allow never falls back to plain text
		return "require"
	}
	return "verify-full"
}

// finishPostgresJS: sslmode is another name of ssl, and the system's roots imply verify-full.
func finishPostgresJS(b *builder) *Error {
	b.finishPrepare()
	switch idle := b.later("keep_alive"); {
	case !idle.ok:
	case idle.value == "0":
		b.set(&b.d.Params, "keepalives", "0")
		b.d.change("keep_alive", "became keepalives=0")
	default:
		b.set(&b.d.Params, "keepalives_idle", idle.value)
		b.d.change("keep_alive", "became keepalives_idle")
	}
	if b.rules.tool == nil {
		return b.postgresjsInPlainURI()
	}
	mode, ssl := b.later("sslmode"), b.later("ssl")
	switch {
	case mode.ok && ssl.ok && postgresjsMode(mode.value) != postgresjsMode(ssl.value):
		return contradictsSSL(max(mode.pos, ssl.pos))
	case mode.ok:
		b.decidePostgresJS(mode.value, mode.pos)
	case ssl.ok:
		b.decidePostgresJS(ssl.value, ssl.pos)
		b.d.change("ssl", "became sslmode")
	}
	if root := param(b.d, "sslrootcert"); root != nil && root.Value == "system" {
		b.decideMode("verify-full", mode.pos)
	}
	return nil
}

// postgresjsInPlainURI is for plain URIs with keys that only postgres.js has: its modes are never
// weaker than libpq's.
func (b *builder) postgresjsInPlainURI() *Error {
	if mode := b.seen.mode; !b.sslVerifies() && b.solely("postgres.js") && mode.ok {
		b.decidePostgresJS(b.seen.modeText, mode.pos)
	}
	return nil
}

// decidePostgresJS sets the sslmode that a value of ssl or sslmode is to postgres.js.
func (b *builder) decidePostgresJS(value string, pos int) {
	mode := postgresjsMode(value)
	b.decideMode(mode, pos)
	if mode != value {
		b.d.change("sslmode", "became "+mode+", which it is to postgres.js")
	}
}
