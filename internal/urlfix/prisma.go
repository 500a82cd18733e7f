package urlfix

// prismaURI is what Prisma's native engine reads, up to Prisma 6:
// quaint/src/connector/postgres/url.rs and native/mod.rs in prisma-engines. Prisma 7 uses
// node-postgres.
var prismaURI = dialect{
	name: "prisma", read: parsePrisma, tool: &prismaTool, query: queryForm, queryWins: true, defaults: prismaDefaults,
}

var prismaTool = tool{name: "Prisma", finish: finishPrisma, rules: table(
	&rule{name: "schema", use: useSetting, to: "search_path", check: quotedName},
	&rule{name: "sslaccept", use: useLater},
	refused("sslidentity", hintPKCS12),
	refused("sslpassword", hintPKCS12),
	refused("port", "Prisma does not look for it in the query; write it after the host"),
	&rule{name: "connection_limit", use: usePool, to: "pool_max_conns", check: checkPositive, drop: []string{"0"}},
	&rule{name: "pool_timeout", use: usePool, to: "pool_acquire_timeout", check: checkSeconds, drop: []string{"0"}},
	&rule{name: "max_connection_lifetime", use: usePool, to: "pool_max_conn_lifetime", check: checkSeconds,
		drop: []string{"0"}},
	&rule{name: "max_idle_connection_lifetime", use: usePool, to: "pool_max_conn_idle_time", check: checkSeconds,
		drop: []string{"0"}},
	ignored("socket_timeout",
		"left out: Prisma ends a query after this time; give the query a context with a deadline, or set statement_timeout"),
	&rule{name: "pgbouncer", use: useLater, check: checkBool},
	pool,
	statementCacheSize,
)}

const hintPKCS12 = "convert the PKCS-12 file to PEM, and name its two parts as sslcert and sslkey"

// parsePrisma reads a URI by the WHATWG's URL standard. The database before the query is the only
// one.
func parsePrisma(d *DSN, s string, base int, rules *dialect) *Error {
	return parseWebForm(d, s, base, rules, webForm{path: unquote, settle: func(d *DSN, p *parts) *Error {
		pathWins(d, p)
		return nil
	}})
}

// prismaDefaults are the defaults of dbname in url.rs. No environment variable changes them.
// Prisma's connect timeout of 5 s is not among them, because there is a timeout here anyway.
func prismaDefaults(b *builder) {
	if b.d.Database == "" {
		b.d.Database = "postgres"
		b.d.change("database", "postgres, as Prisma has it by default")
	}
}

// finishPrisma translates the parameters whose meaning depends on others.
func finishPrisma(b *builder) *Error {
	if b.later("pgbouncer").value == "true" {
		b.exec("pgbouncer")
	}
	b.finishStatementCacheSize()
	return b.prismaTLS()
}

// prismaTLS: whatever is not accept_invalid_certs is strict to Prisma: certificate and name are
// checked. sslcert is the certificate of the server's authority there, and no client's.
func (b *builder) prismaTLS() *Error {
	accept := b.later("sslaccept")
	if !accept.ok && !b.solely("Prisma") {
		return nil
	}
	b.prismaMode()
	if !accept.ok || accept.value == "accept_invalid_certs" {
		if b.prismaAuthority() && b.seen.mode.value == "require" {
			b.d.warn("sslrootcert", "it is checked here; Prisma checks it with sslaccept=strict only")
		}
		return nil
	}
	if b.seen.mode.ok && b.seen.mode.value == "disable" {
		return fault(CodeConflict, "sslaccept", accept.pos, "it checks the certificate, and sslmode turns TLS off",
			"leave one of the two out")
	}
	b.decideMode("verify-full", accept.pos)
	b.d.change("sslaccept", "became sslmode=verify-full")
	b.prismaAuthority()
	b.verify()
	return nil
}

// prismaMode: what is none of disable, prefer and require is prefer to Prisma, in silence. The
// stronger modes keep their meaning, and allow, which is weaker, does not.
func (b *builder) prismaMode() {
	switch b.seen.modeText {
	case "", "disable", "prefer", "require":
		return
	case "allow": // ssl, if it is there, is compared with it later
		b.seen.mode.value = "prefer"
		b.setMode("prefer")
	}
	b.d.warn("sslmode", "Prisma knows disable, prefer and require, and takes every other value for prefer")
}

// prismaAuthority makes sslrootcert of sslcert, unless there is a key with it: then it is libpq's.
// It reports whether it did.
func (b *builder) prismaAuthority() bool {
	cert := param(b.d, "sslcert")
	if cert == nil || param(b.d, "sslkey") != nil || param(b.d, "sslrootcert") != nil {
		return false
	}
	file := cert.Value
	b.remove(&b.d.Params, "sslcert")
	b.set(&b.d.Params, "sslrootcert", file)
	b.d.change("sslcert", "became sslrootcert: to Prisma it is the server's authority")
	return true
}
