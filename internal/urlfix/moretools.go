package urlfix

import "strings"

// Tools with a few parameters of their own in a plain URI.

// sqlxTool is sqlx of Rust: parse_from_url in sqlx-postgres/src/options/parse.rs. Its
// options[NAME]=VALUE is a server setting, see optionRule.
var sqlxTool = tool{name: "sqlx", rules: table(
	&rule{name: "ssl-mode", use: useSSLMode, to: "sslmode", check: checkSSLMode, hint: hintSSLMode},
	&rule{name: "ssl-root-cert", use: useOptional, to: "sslrootcert"},
	&rule{name: "ssl-ca", use: useOptional, to: "sslrootcert"},
	&rule{name: "ssl-cert", use: useOptional, to: "sslcert"},
	&rule{name: "ssl-key", use: useOptional, to: "sslkey"},
	&rule{name: "statement-cache-capacity", use: useDriver, to: "statement_cache_capacity", check: checkPositive},
)}

// optionRule is the rule of sqlx' options[NAME]=VALUE.
var optionRule = &rule{name: "options[...]", use: useSetting}

// optionName returns the server setting that options[NAME] names.
func optionName(key string) (name string, ok bool) {
	name, opened := strings.CutPrefix(key, "options[")
	name, closed := strings.CutSuffix(name, "]")
	return name, opened && closed && IsSetting(name)
}

// crystalTool is crystal-db: src/db/pool.cr and connection.cr.
var crystalTool = tool{name: "Crystal", rules: table(
	&rule{name: "max_pool_size", use: usePool, to: "pool_max_conns", check: checkPositive, drop: []string{"0"}},
	ignored("initial_pool_size",
		"left out: connections are opened when they are needed; pool_warmup opens some ahead"),
	ignored("max_idle_pool_size", "left out: idle connections are kept up to pool_max_conns"),
	checkoutTimeout,
	preparedStatements,
	ignored("prepared_statements_cache", ""),
	ignored("retry_attempts", "left out: a connection is tried again while the server starts"),
	ignored("retry_delay", "left out: a connection is tried again while the server starts"),
)}

// yugabyteTool is what YugabyteDB's drivers know.
var yugabyteTool = tool{name: "YugabyteDB", rules: with(table(), ignoredAll(
	"left out: it spreads connections over a cluster of YugabyteDB; name several hosts and load_balance_hosts=random", `
	load_balance topology_keys yb_servers_refresh_interval fallback_to_topology_keys_only
	failed_host_reconnect_delay_secs
`))}

// peeweeURI is what playhouse/db_url.py of peewee reads, with urllib.
var peeweeURI = dialect{name: "peewee", read: parseWeb, tool: &peeweeTool, query: queryForm}

var peeweeTool = tool{name: "peewee", rules: table(
	maxConnections,
	&rule{name: "stale_timeout", use: usePool, to: "pool_max_conn_idle_time", check: checkFraction, drop: []string{"0"}},
	&rule{name: "timeout", use: usePool, to: "pool_acquire_timeout", check: checkFraction, drop: []string{"0"}},
	ignored("autoconnect", ""),
	ignored("autorollback", ""),
	ignored("register_hstore", ""),
)}

// psycopgURI is Tortoise ORM's scheme, read with urllib (backends/base/config_generator.py).
var psycopgURI = dialect{name: "psycopg", read: parseWeb, query: queryForm, settings: true}

// dburlURI is dburl's form with the name of a transport or of CockroachDB.
var dburlURI = dialect{name: "dburl", answers: []string{"pgx", "libpq-go"}, read: parseWeb, tool: &libpqGoTool,
	query: queryForm, settings: true}

// r2dbc is the form of r2dbc-postgresql: PostgresqlConnectionFactoryProvider.java, and
// ConnectionUrlParser.java of r2dbc-spi.
var r2dbc = dialect{name: "r2dbc", read: parseR2DBC, tool: &r2dbcTool, query: queryForm, queryWins: true}

var r2dbcTool = tool{name: "R2DBC", finish: finishR2DBC, rules: with(table(
	&rule{name: "sslMode", use: useSSLMode, to: "sslmode", hint: hintSSLMode,
		check: anyCase(oneOfThese("disable", "disable", "allow", "allow", "prefer", "prefer", "require", "require",
			"verify-ca", "verify-ca", "verify_ca", "verify-ca", "verify-full", "verify-full", "verify_full", "verify-full"))},
	&rule{name: "ssl", use: useLater, check: checkBool},
	&rule{name: "sslRootCert", use: useOptional, to: "sslrootcert"},
	&rule{name: "sslCert", use: useOptional, to: "sslcert"},
	&rule{name: "sslKey", use: useOptional, to: "sslkey", check: checkPEM, hint: hintPEM},
	&rule{name: "sslPassword", use: useSSLPassword},
	refused("sslHostnameVerifier", hintInCode),
	refused("sslContextBuilderCustomizer", hintInCode),
	&rule{name: "applicationName", to: "application_name"},
	&rule{name: "schema", use: useSetting, to: "search_path", check: notEmpty},
	ignored("connectTimeout", "left out: write connect_timeout, in seconds"),
	ignored("statementTimeout", "left out: write statement_timeout"),
	ignored("lockWaitTimeout", "left out: write lock_timeout"),
	refused("options", "write each setting as a parameter of its own"),
	&rule{name: "tcpKeepAlive", to: "keepalives", check: anyCase(oneOfThese("true", "1", "false", "0"))},
	&rule{name: "targetServerType", to: "target_session_attrs", hint: "write any, primary, secondary or preferSecondary",
		check: anyCase(oneOfThese("any", "any", "primary", "primary", "secondary", "standby",
			"prefersecondary", "prefer-standby"))},
	&rule{name: "loadBalanceHosts", to: "load_balance_hosts", check: anyCase(oneOfThese("true", "random")),
		drop: []string{"false"}},
	&rule{name: "maxSize", use: usePool, to: "pool_max_conns", check: checkPositive},
	ignored("initialSize", "left out: connections are opened when they are needed; pool_warmup opens some ahead"),
), ignoredAll("left out: it is about the inside of R2DBC", `
	autodetectExtensions compatibilityMode errorResponseLogLevel extensions fetchSize forceBinary hostRecheckTime
	maxAcquireTime maxCreateConnectionTime maxIdleTime maxLifeTime noticeLogLevel preferAttachedBuffers
	preparedStatementCacheQueries sslSni tcpNoDelay validationQuery
`))}

// parseR2DBC reads "//USER:PASSWORD@HOSTS/DATABASE" after the name of the driver, and "failover:"
// before a list of hosts.
func parseR2DBC(d *DSN, s string, base int, rules *dialect) *Error {
	if strings.HasPrefix(s[base:], "failover:") {
		base += len("failover:")
	}
	if !strings.HasPrefix(s[base:], "//") {
		return fault(CodeSyntax, "string", base, "two slashes must follow the name of the driver",
			"write r2dbc:postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	return parseWeb(d, s, base+len("//"), rules)
}

// finishR2DBC: ssl=true checks the certificate and the name. Without ssl and sslMode there is no
// TLS; here it is used where the server offers it.
func finishR2DBC(b *builder) *Error {
	ssl, mode := b.later("ssl"), b.seen.mode
	switch {
	case ssl.value == "true" && !mode.ok:
		b.setMode("verify-full")
		b.d.change("ssl", "became sslmode=verify-full")
	case ssl.value == "true" && mode.value != "verify-full" && mode.value != "verify-ca" && mode.value != "require":
		return contradictsSSL(max(ssl.pos, mode.pos))
	case ssl.value == "false" && mode.ok && mode.value != "disable":
		return contradictsSSL(max(ssl.pos, mode.pos))
	case ssl.value == "false" && !mode.ok:
		b.setMode("disable")
	}
	return nil
}
