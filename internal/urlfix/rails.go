package urlfix

import "strings"

// railsURI is what Rails reads: ConnectionUrlResolver in
// database_configurations/connection_url_resolver.rb, and connection_adapters/postgresql_adapter.rb
// of Active Record. Keys that Rails does not know go to libpq.
var railsURI = dialect{name: "rails", read: parseRails, tool: &railsTool, query: queryPercent}

// railsTool: what is neither libpq's nor its own Rails drops in silence. Here it is refused.
var railsTool = tool{name: "Rails", private: []string{"adapter"}, rules: table(
	&rule{name: "adapter", use: useIgnore, check: oneOf("postgresql", "postgres", "postgis")},
	&rule{name: "username", use: useUser},
	&rule{name: "ssl", use: useSSL, check: railsSSL, drop: []string{"false", "0"},
		hint: "write sslmode=require, or sslmode=verify-full to check the server's certificate"},
	&rule{name: "requiressl", use: useSSL, check: oneOfThese("1", "require"), drop: []string{"0"},
		hint: "write sslmode=require"}, // libpq's, up to PostgreSQL 13

	pool,
	maxConnections,
	&rule{name: "min_connections", use: usePool, to: "pool_min_idle_conns", check: checkCount, drop: []string{"0"}},
	checkoutTimeout,
	&rule{name: "reaping_frequency", use: usePool, to: "pool_health_check_period", check: checkFraction,
		drop: []string{"0", "nil"}},
	&rule{name: "max_age", use: usePool, to: "pool_max_conn_lifetime", check: checkFraction, drop: []string{"0"}},
	idleTimeout,

	&rule{name: "schema_search_path", use: useSetting, to: "search_path", check: notEmpty},
	&rule{name: "schema_order", use: useSetting, to: "search_path", check: notEmpty},
	&rule{name: "min_messages", use: useSetting, to: "client_min_messages", check: notEmpty},
	&rule{name: "variables", use: useRefuse, hint: "write each setting as a parameter of its own"},
	encoding,

	preparedStatements,
	&rule{name: "statement_limit", use: useDriver, to: "statement_cache_capacity", check: checkPositive},
	ignored("advisory_locks", ""),
	ignored("connection_retries", "left out: a connection that fails is an error at once"),
	ignored("database_tasks", ""),
	ignored("insert_returning", ""),
	ignored("keepalive",
		"left out: Rails sends a query over an idle connection after this time; keepalives_idle lets TCP do so"),
	ignored("max_threads", ""),
	ignored("min_threads", ""),
	ignored("migrations_paths", ""),
	ignored("query_cache", ""),
	&rule{name: "replica", use: useRefuse,
		hint: "leave it out; default_transaction_read_only=on keeps the application from writing"},
	ignored("retry_deadline", "left out: a connection that fails is an error at once"),
	ignored("schema_cache_path", ""),
	ignored("schema_dump", ""),
	ignored("seeds", ""),
	timeout,
	ignored("use_metadata_table", ""),
	ignored("verify_timeout", ""),
)}

// parseRails: Ruby's URI::RFC2396_Parser knows one "@", and fails on a bad escape. With a good one
// next to it, there are two ways to read what it fails on.
func parseRails(d *DSN, s string, base int, rules *dialect) *Error {
	authority := s[base : base+indexAny(s[base:], "/?#")]
	userinfo := authority[:max(0, strings.LastIndexByte(authority, '@'))]
	if hasEscape(userinfo) && hasBadEscape(userinfo) {
		return fault(CodeAmbiguous, "password", base, "user or password hold both percent-escapes and raw percent signs",
			encodeHint)
	}
	return parseWebOnce(d, s, base, rules, webForm{path: unquote, settle: settleRails})
}

func hasBadEscape(s string) bool {
	for i := range len(s) {
		if s[i] == '%' && !escapeAt(s, i) {
			return true
		}
	}
	return false
}

// settleRails: before Rails 7.1 the path outranks the database of the query, and after it the other
// way round.
func settleRails(d *DSN, p *parts) *Error {
	for _, one := range p.pairs {
		if p.database != "" && (one.key == "database" || one.key == "dbname") && one.value != p.database {
			return contradiction("database", one.pos)
		}
	}
	return nil
}

// railsSSL: Rails drops ssl, and libpq's default lets a server do without TLS. ssl=true asks for
// more than that.
func railsSSL(value string) (string, string) {
	switch value {
	case "true", "1":
		return "require", ""
	}
	return "", "Rails has no such parameter, and would leave it out"
}
