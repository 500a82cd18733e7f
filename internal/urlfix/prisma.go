package urlfix

// prismaURI is what Prisma's native engine reads, up to Prisma 6: quaint/src/connector/postgres/url.rs and
// native/mod.rs in prisma-engines. Prisma 7 uses node-postgres.
var prismaURI = dialect{name: "prisma", read: parseWeb, tool: &prismaTool, query: queryForm, queryWins: true}

var prismaTool = tool{name: "Prisma", finish: finishPrisma, rules: table(
	&rule{name: "schema", use: useSetting, to: "search_path", check: quotedName},
	&rule{name: "sslaccept", use: useLater},
	refused("sslidentity", "convert the PKCS-12 file to PEM, and name its two parts as sslcert and sslkey"),
	&rule{name: "connection_limit", use: usePool, to: "pool_max_conns", check: checkCount},
	&rule{name: "pool_timeout", use: usePool, to: "pool_acquire_timeout", check: checkSeconds, drop: []string{"0"}},
	&rule{name: "max_connection_lifetime", use: usePool, to: "pool_max_conn_lifetime", check: checkSeconds, drop: []string{"0"}},
	&rule{name: "max_idle_connection_lifetime", use: usePool, to: "pool_max_conn_idle_time", check: checkSeconds, drop: []string{"0"}},
	ignored("socket_timeout", "left out: Prisma ends a query after this time; give the query a context with a deadline, or set statement_timeout"),
	&rule{name: "pgbouncer", use: useLater, check: checkBool},
	&rule{name: "statement_cache_size", use: useDriver, to: "statement_cache_capacity", check: checkCount},
)}

// finishPrisma translates the parameters whose meaning depends on others.
func finishPrisma(b *builder) *Error {
	if b.later("pgbouncer").value == "true" {
		b.set(&b.d.Driver, "default_query_exec_mode", "exec")
		b.d.change("pgbouncer", "became default_query_exec_mode=exec: no statement is prepared under a name")
	}
	return b.prismaTLS()
}

// prismaTLS: whatever is not accept_invalid_certs is strict to Prisma: certificate and name are checked. sslcert is
// the certificate of the server's authority there, and no client's.
func (b *builder) prismaTLS() *Error {
	accept := b.later("sslaccept")
	if !accept.ok || accept.value == "accept_invalid_certs" {
		return nil
	}
	if b.seen.mode.ok && b.seen.mode.value == "disable" {
		return fault(CodeConflict, "sslaccept", accept.pos, "it checks the certificate, and sslmode turns TLS off", "leave one of the two out")
	}
	b.setMode("verify-full")
	b.d.change("sslaccept", "became sslmode=verify-full")
	root := "system"
	if cert := param(b.d, "sslcert"); cert != nil && param(b.d, "sslkey") == nil {
		root = cert.Value
		b.remove(&b.d.Params, "sslcert")
		b.d.change("sslcert", "became sslrootcert: to Prisma it is the server's authority")
	}
	if param(b.d, "sslrootcert") == nil {
		b.set(&b.d.Params, "sslrootcert", root)
	}
	return nil
}
