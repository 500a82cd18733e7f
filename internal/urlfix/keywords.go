package urlfix

// dialect is a set of rules: how the query is cut, and what its parameters mean where that is not libpq's meaning.
type dialect struct {
	name      string
	form      bool             // the query is an HTML form's, as Python's parse_qsl reads it, and not libpq's
	rules     map[string]*rule // outranks the shared table
	settings  bool             // bare keys may name server settings
	queryWins bool             // host and port in the query replace the URL's, instead of contradicting them
}

var (
	libpqURI     = dialect{name: "libpq", settings: true}
	libpqKeyword = dialect{name: "libpq-keyword", settings: true, rules: table(
		&rule{name: "ssl", use: useRefuse, hint: "write sslmode=require or sslmode=verify-full"},
	)}
)

// rule says what becomes of a parameter.
type rule struct {
	name string
	use  use
	// check returns the value in its canonical form, or the reason why it cannot be.
	check func(value string) (canonical, reason string)
	// drop lists values that change nothing: with one of them, the parameter is left out.
	drop []string
	hint string
}

// use is the place in a DSN that a parameter goes to.
type use uint8

const (
	useParam          use = iota // DSN.Params, under its name
	useOptional                  // the same, but libpq takes the empty value as not given
	useUser                      // DSN.User
	usePassword                  // DSN.Password
	useHost                      // DSN.Hosts
	usePort                      // DSN.Hosts
	useDatabase                  // DSN.Database
	useSSLPassword               // DSN.SSLPassword
	useSSLMode                   // sslmode
	useSSL                       // sslmode, under another name
	useFallbackName              // application_name, if there is none
	useSetting                   // DSN.Settings
	usePool                      // DSN.Pool
	useDriver                    // DSN.Driver
	useStatementCache            // DSN.Driver: 0 means no prepared statements
	useIgnore                    // nowhere: it has no effect in libpq either
	useRefuse                    // an error, by name
)

// table keys rules by their names.
func table(rules ...*rule) map[string]*rule {
	m := make(map[string]*rule, len(rules))
	for _, r := range rules {
		m[r.name] = r
	}
	return m
}

// keywords are those of PQconndefaults in PostgreSQL 18, and ours. A keyword that gets honoured later changes its
// row, and nothing else.
var keywords = table(
	&rule{name: "user", use: useUser},
	&rule{name: "password", use: usePassword},
	&rule{name: "host", use: useHost},
	&rule{name: "port", use: usePort},
	&rule{name: "dbname", use: useDatabase},
	&rule{name: "database", use: useDatabase}, // pgx, lib/pq, asyncpg, psycopg2
	&rule{name: "sslpassword", use: useSSLPassword},
	&rule{name: "sslmode", use: useSSLMode, check: checkSSLMode, hint: hintSSLMode},
	&rule{name: "ssl", use: useSSL, check: checkSSLTrue, hint: "tools disagree on ssl=; write sslmode=require, or sslmode=verify-full to check the server's certificate"},

	&rule{name: "application_name"},
	&rule{name: "fallback_application_name", use: useFallbackName},
	&rule{name: "options"},
	&rule{name: "client_encoding", check: checkEncoding, drop: []string{"auto"}, hint: "write client_encoding=UTF8"},
	&rule{name: "connect_timeout", check: checkTimeout},
	&rule{name: "target_session_attrs", check: oneOf("any", "read-write", "read-only", "primary", "standby", "prefer-standby")},
	&rule{name: "passfile", use: useOptional},
	&rule{name: "service", check: notEmpty},
	&rule{name: "sslcert", use: useOptional},
	&rule{name: "sslkey", use: useOptional},
	&rule{name: "sslrootcert", use: useOptional},
	&rule{name: "sslcertmode", check: oneOf("disable", "allow", "require")},
	&rule{name: "sslsni", check: oneOf("0", "1")},
	&rule{name: "sslnegotiation", check: oneOf("postgres", "direct")},
	&rule{name: "channel_binding", check: oneOf("disable", "prefer", "require")},
	&rule{name: "require_auth", use: useOptional, check: checkRequireAuth},
	&rule{name: "min_protocol_version", check: oneOf("3.0", "3.2", "latest")},
	&rule{name: "max_protocol_version", check: oneOf("3.0", "3.2", "latest")},
	&rule{name: "krbsrvname", use: useOptional},

	&rule{name: "sslcompression", use: useIgnore},
	refused("gssencmode", "GSSAPI encryption is not supported", "disable", "prefer"),
	refused("gssdelegation", "", "0"),
	refused("gsslib", "", "gssapi"),
	refused("krbspn", "libpq does not know it"),
	refused("replication", "a replication connection runs no ordinary statements", "false", "off", "no", "0"),
	&rule{name: "load_balance_hosts", check: oneOf("disable", "random"), drop: []string{"disable"}},
	&rule{name: "keepalives", check: checkWhole},
	&rule{name: "keepalives_idle", check: checkWhole},
	&rule{name: "keepalives_interval", check: checkWhole},
	&rule{name: "keepalives_count", check: checkWhole},
	&rule{name: "tcp_user_timeout", check: checkWhole},
	&rule{name: "hostaddr", use: useOptional, check: checkAddresses},
	&rule{name: "ssl_min_protocol_version", use: useOptional, check: checkTLSVersion},
	&rule{name: "ssl_max_protocol_version", use: useOptional, check: checkTLSVersion},
	&rule{name: "sslcrl", use: useOptional},
	&rule{name: "sslcrldir", use: useOptional},
	&rule{name: "requirepeer", use: useOptional},
	refused("sslkeylogfile", ""),
	refused("scram_client_key", ""),
	refused("scram_server_key", ""),
	refused("oauth_issuer", ""),
	refused("oauth_client_id", ""),
	refused("oauth_client_secret", ""),
	refused("oauth_scope", ""),
	refused("servicefile", "libpq reads it from PGSERVICEFILE only"),

	&rule{name: "pool_max_conns", use: usePool},
	&rule{name: "pool_min_conns", use: usePool},
	&rule{name: "pool_min_idle_conns", use: usePool},
	&rule{name: "pool_max_conn_lifetime", use: usePool},
	&rule{name: "pool_max_conn_lifetime_jitter", use: usePool},
	&rule{name: "pool_max_conn_idle_time", use: usePool},
	&rule{name: "pool_health_check_period", use: usePool},
	&rule{name: "pool_ping_timeout", use: usePool},
	&rule{name: "pool_profile", use: usePool},
	&rule{name: "pool_acquire_timeout", use: usePool},
	&rule{name: "pool_warmup", use: usePool},

	&rule{name: "default_query_exec_mode", use: useDriver, check: oneOf("cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol")},
	&rule{name: "statement_cache_capacity", use: useDriver, check: checkCount},
	&rule{name: "description_cache_capacity", use: useDriver, check: checkCount},
	&rule{name: "pgsafe_conn", use: useDriver, check: notEmpty},
	&rule{name: "pgsafe_dialect", use: useDriver, check: notEmpty},
	&rule{name: "pgsafe_telemetry", use: useDriver, check: notEmpty},
	&rule{name: "pgsafe_cancel_timeout", use: useDriver, check: notEmpty},
	&rule{name: "pgsafe_pool_name", use: useDriver, check: notEmpty},
)

// refused is a keyword of libpq that cannot be honoured, except for the values that change nothing.
func refused(name, hint string, drop ...string) *rule {
	if hint == "" {
		hint = notYetHint
	}
	return &rule{name: name, use: useRefuse, hint: hint, drop: drop}
}

// settingRule is the rule of all server settings. Its name takes the place of the key in errors.
var settingRule = &rule{name: "server setting", use: useSetting}

// lookup returns the rule for a key, or nil if the key is unknown.
func (d *dialect) lookup(key string) *rule {
	if r, ok := d.rules[key]; ok {
		return r
	}
	if r, ok := keywords[key]; ok {
		return r
	}
	if d.settings && IsSetting(key) {
		return settingRule
	}
	return nil
}

// customSetting reports whether key is the name of an extension's or an application's setting: identifiers with
// dots between them (valid_custom_variable_name, guc.c).
func customSetting(key string) bool {
	dots, start := 0, true
	for i := range len(key) {
		c := key[i]
		switch {
		case c == '.' && !start:
			dots++
			start = true
			continue
		case c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z':
		case !start && ('0' <= c && c <= '9' || c == '$'):
		default:
			return false
		}
		start = false
	}
	return dots > 0 && !start
}

// foreignKeys belong to one tool each. They are told from unknown ones to give a better error.
var foreignKeys = map[string]string{
	"schema": "Prisma", "connection_limit": "Prisma", "pgbouncer": "Prisma", "sslaccept": "Prisma",
	"sslidentity": "Prisma", "pool_timeout": "Prisma", "socket_timeout": "Prisma",
	"currentSchema": "JDBC", "ApplicationName": "JDBC", "prepareThreshold": "JDBC", "socketTimeout": "JDBC",
	"loginTimeout": "JDBC", "connectTimeout": "JDBC", "tcpKeepAlive": "JDBC", "targetServerType": "JDBC",
	"sslfactory": "JDBC", "stringtype": "JDBC", "reWriteBatchedInserts": "JDBC",
	"uselibpqcompat": "node-postgres", "connectionTimeoutMillis": "node-postgres", "query_timeout": "node-postgres",
	"idleTimeoutMillis": "node-postgres", "encoding": "Rails", "schema_search_path": "Rails",
	"prepared_statements": "Rails", "checkout_timeout": "Rails", "reaping_frequency": "Rails",
	"conn_max_age": "Django", "pool_size": "SQLAlchemy or Ecto", "max_overflow": "SQLAlchemy",
	"socket_dir": "Ecto", "binary_parameters": "lib/pq", "sslinline": "lib/pq",
	"charset": "MySQL", "parseTime": "MySQL", "serverVersion": "Doctrine",
}

// unknownKey never repeats the key: behind a raw "&" it is a piece of the password.
func unknownKey(key string, pos int) *Error {
	if tool, ok := foreignKeys[key]; ok {
		return fault(CodeUnsupported, key, pos, "it belongs to "+tool+", and is not supported yet", notYetHint)
	}
	hint := `if it is part of a password, write & as %26 and = as %3D`
	if name := similar(key); name != "" {
		hint = "did you mean " + name + "?"
	}
	return fault(CodeUnknownKey, "parameter", pos, "its name is not known", hint)
}
