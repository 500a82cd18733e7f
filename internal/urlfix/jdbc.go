package urlfix

import (
	"cmp"
	"strings"
)

// jdbc is the JDBC driver's form: parseURL in org/postgresql/Driver.java of pgjdbc.
var jdbc = dialect{name: "jdbc", read: parseJDBC, tool: &jdbcTool, query: queryForm, queryWins: true}

// jdbcYugabyte is the form of YugabyteDB's driver, a fork of pgjdbc with another default port.
var jdbcYugabyte = dialect{name: "jdbc", read: parseYugabyte, tool: &jdbcTool, query: queryForm, queryWins: true}

func parseYugabyte(d *DSN, s string, base int, rules *dialect) *Error {
	const defaultPort = 5433
	if err := parseJDBC(d, s, base, rules); err != nil {
		return err
	}
	for i := range d.Hosts {
		if d.Hosts[i].Port == 0 {
			d.Hosts[i].Port = defaultPort
			d.hostsInQuery = false
		}
	}
	return nil
}

// jdbcTool are the properties of PGProperty.java. Their names are told apart by case.
var jdbcTool = tool{name: "JDBC", finish: finishJDBC, rules: with(table(
	&rule{name: "PGHOST", use: useHost},
	&rule{name: "PGPORT", use: usePort},
	&rule{name: "PGDBNAME", use: useDatabase},
	ignored("database", "left out: JDBC has no such property, and opens the database before the question mark"),
	currentSchema,
	&rule{name: "ApplicationName", to: "application_name"},
	&rule{name: "readOnly", use: useSetting, to: "default_transaction_read_only",
		check: anyCase(oneOfThese("true", "on")), drop: []string{"false"}},
	ignored("readOnlyMode", "left out: readOnly=true makes every transaction of the session read-only"),

	&rule{name: "ssl", use: useLater,
		check: anyCase(oneOfThese("true", "verify-full", "", "verify-full", "false", "prefer", "0", "prefer", "1", "prefer")),
		hint:  "to JDBC, true is sslmode=verify-full, and all else is sslmode=prefer; write sslmode"},
	&rule{name: "sslmode", use: useSSLMode, check: anyCase(checkSSLMode), hint: hintSSLMode},
	&rule{name: "sslfactory", use: useLater, check: checkSSLFactory, hint: hintInCode,
		drop: []string{"", "org.postgresql.ssl.LibPQFactory", "org.postgresql.ssl.jdbc4.LibPQFactory"}},
	refused("sslfactoryarg", hintInCode, ""),
	refused("sslhostnameverifier", hintInCode, "", "org.postgresql.ssl.PGjdbcHostnameVerifier"),
	refused("sslpasswordcallback", "write sslpassword", ""),
	refused("socketFactory", "it decides which server is reached; "+hintInCode, ""),
	refused("socketFactoryArg", hintInCode, ""),
	refused("cloudSqlInstance", "write host=/cloudsql/INSTANCE, or use Cloud SQL's connector in code", ""),
	refused("authenticationPluginClassName", hintInCode, ""),
	refused("localSocketAddress", hintInCode, ""),
	refused("hostaddr",
		"JDBC has no such property, and it decides which server is reached; write the address as the host", ""),
	refused("jaasApplicationName", hintKerberos, "", "pgjdbc"),
	refused("sspiServiceClass", hintKerberos, "", "POSTGRES"),
	refused("useSpnego", hintKerberos, "false"),
	refused("gssUseDefaultCreds", hintKerberos, "false"),
	refused("gsslib", hintKerberos, "auto", "gssapi"),
	ignored("jaasLogin", "left out: "+hintKerberos),
	&rule{name: "kerberosServerName", use: useOptional, to: "krbsrvname"},
	&rule{name: "sslkey", use: useOptional, check: checkPEM, hint: hintPEM},
	&rule{name: "sslNegotiation", to: "sslnegotiation", check: oneOf("postgres", "direct")},
	&rule{name: "channelBinding", to: "channel_binding", check: oneOf("disable", "prefer", "require")},
	&rule{name: "requireAuth", use: useOptional, to: "require_auth", check: checkRequireAuth},
	refused("gssEncMode", "GSSAPI encryption is not supported", "disable", "allow", "prefer"),

	&rule{name: "connectTimeout", use: useLater, check: checkTimeout},
	&rule{name: "loginTimeout", use: useLater, check: checkTimeout, drop: []string{"0"}},
	&rule{name: "socketTimeout", use: useIgnore, drop: []string{"0"},
		warn: "left out: JDBC gives up a connection that is silent for so many seconds; " +
			"give queries a context with a deadline"},
	&rule{name: "queryTimeout", use: useIgnore, drop: []string{"0"},
		warn: "left out: JDBC ends a query after so many seconds; " +
			"give queries a context with a deadline, or set statement_timeout"},
	&rule{name: "tcpKeepAlive", to: "keepalives", check: anyCase(oneOfThese("true", "1", "false", "0"))},
	&rule{name: "targetServerType", to: "target_session_attrs", hint: "preferPrimary has no equal; write any or primary",
		check: oneOfThese("any", "any", "primary", "primary", "master", "primary", "secondary", "standby", "slave", "standby",
			"preferSecondary", "prefer-standby", "preferSlave", "prefer-standby")},
	&rule{name: "loadBalanceHosts", to: "load_balance_hosts", check: anyCase(oneOfThese("true", "random")),
		drop: []string{"false"}},

	&rule{name: "prepareThreshold", use: useLater},
	&rule{name: "preferQueryMode", use: useLater,
		check: oneOf("simple", "extended", "extendedForPrepared", "extendedCacheEverything")},
	&rule{name: "stringtype", use: useIgnore, drop: []string{"varchar"},
		warn: "left out: JDBC lets the server guess the types of texts; here, cast a parameter where its type is not clear"},
	&rule{name: "autosave", use: useIgnore, drop: []string{"never"},
		warn: "left out: JDBC goes on in a transaction after an error; here, set a savepoint"},
	ignored("preparedStatementCacheQueries", "left out: use statement_cache_capacity"),
	ignored("preparedStatementCacheSizeMiB", "left out: use statement_cache_capacity"),
	ignored("defaultRowFetchSize", "left out: rows are read as they arrive"),
	ignored("cancelSignalTimeout", "left out: a query ends with its context"),
	ignored("maxResultBuffer", "left out: rows are read as they arrive"),
), ignoredAll("left out: it is about the inside of the JDBC driver", `
	adaptiveFetch adaptiveFetchMaximum adaptiveFetchMinimum allowEncodingChanges assumeMinServerVersion binaryTransfer
	binaryTransferDisable binaryTransferEnable classLoaderStrategy cleanupSavepoints connectExecutor connectExecutorArg
	convertBooleanToNumeric databaseMetadataCacheFields databaseMetadataCacheFieldsMiB disableColumnSanitiser
	escapeSyntaxCallMode flushCacheOnDdl groupStartupParameters gssResponseTimeout hideUnprivilegedObjects
	hostRecheckSeconds logServerErrorDetail logUnclosedConnections loggerFile loggerLevel loglevel maxSendBufferSize
	pemKeyAlgorithm protocolVersion quoteReturningIdentifiers reWriteBatchedInserts reWriteBatchedInsertsSize
	receiveBufferSize scramMaxIterations sendBufferSize sslResponseTimeout tcpNoDelay unknownLength xmlFactoryFactory
`))}

// checkSSLFactory knows the factories of the driver itself (org/postgresql/ssl).
func checkSSLFactory(value string) (string, string) {
	switch value {
	case "org.postgresql.ssl.NonValidatingFactory":
		return "unverified", ""
	case "org.postgresql.ssl.DefaultJavaSSLFactory":
		return "system", ""
	}
	return "", "it is a class that decides which certificates are good"
}

// finishJDBC translates the parameters whose meaning depends on others.
func finishJDBC(b *builder) *Error {
	login, connect := b.later("loginTimeout"), b.later("connectTimeout")
	if login.ok || connect.ok {
		b.set(&b.d.Params, "connect_timeout", cmp.Or(login.value, connect.value))
		b.d.change("connectTimeout", "became connect_timeout, as loginTimeout does, which outranks it")
	}
	b.jdbcStatements()
	if err := b.jdbcSSL(); err != nil {
		return err
	}
	return b.jdbcSSLFactory()
}

// jdbcStatements chooses how pgx runs a statement.
func (b *builder) jdbcStatements() {
	mode, threshold := b.later("preferQueryMode"), b.later("prepareThreshold")
	switch {
	case mode.value == "simple":
		b.set(&b.d.Driver, "default_query_exec_mode", "simple_protocol")
		b.d.change("preferQueryMode", "became default_query_exec_mode=simple_protocol")
	case threshold.value == "0":
		b.exec("prepareThreshold")
	case threshold.ok || mode.value == "extendedForPrepared":
		b.d.warn("prepareThreshold",
			"left out: JDBC prepares a statement when it has run some times; here, it is prepared at once")
	}
}

// jdbcSSL is SslMode.of: ssl counts if there is no sslmode. It means more than in libpq. A mode that
// may do without TLS beside ssl=true is refused, although JDBC takes it.
func (b *builder) jdbcSSL() *Error {
	if !b.seen.mode.ok {
		b.sslVerifies()
	}
	ssl := b.later("ssl")
	switch mode := b.seen.mode.value; {
	case !ssl.ok:
	case ssl.value == "verify-full" && (mode == "disable" || mode == "allow" || mode == "prefer"):
		return contradictsSSL(max(ssl.pos, b.seen.mode.pos))
	case b.seen.mode.ok:
		b.d.warn("ssl", "left out: as in JDBC, sslmode outranks it")
	default:
		b.setMode(ssl.value)
		b.d.change("ssl", "became sslmode")
		if ssl.value == "prefer" {
			b.d.warn("ssl", "as in JDBC, this value is sslmode=prefer, and does not turn TLS off")
		}
	}
	return nil
}

// jdbcSSLFactory applies a factory, which outranks sslmode: in every mode with TLS, it alone judges
// the certificate.
func (b *builder) jdbcSSLFactory() *Error {
	factory, mode := b.later("sslfactory"), b.seen.mode.value
	if mode == "" && b.seen.sslText != "true" { // ssl=verify-full in a plain URI
		mode = b.seen.modeByAlias.value
	}
	switch {
	case factory.value == "system" && mode != "disable":
		b.verify()
		b.d.change("sslfactory", "became sslmode=verify-full with the roots of the system")
	case factory.value != "unverified":
	case mode == "verify-ca" || mode == "verify-full":
		return fault(CodeConflict, "sslfactory", factory.pos,
			"it lets every certificate pass, and sslmode asks for a good one", "leave one of the two out")
	default:
		if mode == "" || mode == "require" {
			b.setMode("require")
		}
		b.d.warn("sslfactory", "as in JDBC, the server's certificate is not checked")
	}
	return nil
}

// parseJDBC cuts the string at the first "?", as parseURL does. Before it is the server, after it
// the properties.
func parseJDBC(d *DSN, s string, base int, rules *dialect) *Error {
	if s[len(s)-1] == ' ' {
		return endsWithBlank(s)
	}
	d.Dialect = rules.name
	end := base + indexAny(s[base:], "?")
	if strings.HasPrefix(s[base:], "//") && strings.IndexByte(s[base:end], '@') >= 0 {
		d.warn("user", "JDBC has no user and password before the host, and would take them for a part of it")
		return parseWebOnce(d, s, base+len("//"), rules, webForm{path: unquote})
	}
	if slashless(s[base:end]) {
		if err := checkHidden(s, base+len("//"), end); err != nil {
			return err
		}
	}
	var p parts
	if err := readJDBCServer(&p, s, base, end); err != nil {
		return err
	}
	if err := readProperties(d, &p, s, end+1, rules); err != nil {
		return err
	}
	if err := checkRepeated(p.pairs, rules); err != nil {
		return err
	}
	if err := jdbcHosts(&p, rules); err != nil {
		return err
	}
	return build(d, rules, &p)
}

// slashless reports whether the hosts of "//HOSTS/DATABASE" have no slash after them, on which JDBC
// fails.
func slashless(server string) bool {
	hosts, found := strings.CutPrefix(server, "//")
	return found && strings.IndexByte(hosts, '/') < 0
}

// readJDBCServer reads "//HOSTS/DATABASE" or "DATABASE", s[from:end].
func readJDBCServer(p *parts, s string, from, end int) *Error {
	const hint = "write jdbc:postgresql://HOST:PORT/DATABASE"
	server := s[from:end]
	hosts, database := "", server
	switch {
	case server == "/" || server == "//" || server == "///": // the last one has no host either
		return nil
	case strings.HasPrefix(server, "//"):
		hosts, database, _ = strings.Cut(server[len("//"):], "/")
		from += len("//")
		p.hosts = []Host{{}}
	}
	if i := strings.IndexByte(database, '/'); i >= 0 {
		return fault(CodeSyntax, "database", end-len(database)+i, `it holds a raw "/"`, hint)
	}
	hosts = strings.TrimRight(hosts, ",")
	if err := readAuthority(p, s, from, from+len(hosts)); err != nil {
		return err
	}
	if i := strings.Index(hosts+",", ":,"); i >= 0 { // libpq would take the default
		return fault(CodeValue, "port", from+i+1, "it is empty, on which JDBC fails", hint)
	}
	var ok bool
	if p.database, ok = decodeJava(database); !ok {
		return fault(CodeSyntax, "database", end-len(database), "its percent-escapes are not valid", hint)
	}
	return nil
}

// decodeJava decodes as java.net.URLDecoder does: "+" is a blank, and a percent sign must start an
// escape.
func decodeJava(s string) (text string, ok bool) {
	for i := range len(s) {
		if s[i] == '%' && !escapeAt(s, i) {
			return "", false
		}
	}
	return decodeLenient(s, true)
}

// readProperties reads "name=value&..." from offset from on. A name may stand without a value.
func readProperties(d *DSN, p *parts, s string, from int, rules *dialect) *Error {
	for pos := from; pos < len(s); {
		end := pos + indexAny(s[pos:], "&")
		if end > pos {
			if unknownProperty(p, s[pos:end], rules) {
				d.warn("parameter", "left out: JDBC has no such property, and ignores it")
				pos = end + 1
				continue
			}
			one, err := readProperty(d, s[pos:end], pos, rules)
			if err != nil {
				return err
			}
			p.pairs = append(p.pairs, one)
		}
		pos = end + 1
	}
	return nil
}

// unknownProperty reports whether raw is a property that pgjdbc ignores, as those of its wrappers. A
// name that is nearly a known one is none, nor is one that may be about TLS or the password, or
// the rest of a password with a raw "&".
func unknownProperty(p *parts, raw string, rules *dialect) bool {
	key, _, found := strings.Cut(raw, "=")
	if rules.lookup(key) != nil || similarTo(key, rules.tool) != "" || len(key) < 3 {
		return false
	}
	for i := range len(key) {
		if c := key[i]; !letterOrDigit(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	lower := strings.ToLower(key)
	for _, part := range [...]string{"ssl", "tls", "pass", "pwd", "secret"} {
		if strings.Contains(lower, part) {
			return false
		}
	}
	if n := len(p.pairs); n > 0 && rules.lookup(p.pairs[n-1].key).use == usePassword {
		return found && len(key) > 3
	}
	return true
}

func readProperty(d *DSN, raw string, pos int, rules *dialect) (pair, *Error) {
	key, text, _ := strings.Cut(raw, "=")
	r := rules.lookup(key)
	if r == nil {
		return pair{}, unknownIn(key, pos, "if it is part of a password, write & as %26 and = as %3D", rules.tool)
	}
	plus := strings.IndexByte(text, '+') >= 0
	value, ok := decodeJava(text)
	switch {
	case !ok && r.use == usePassword && !plus:
		return rawPassword(text, key, pos)
	case !ok:
		return pair{}, fault(CodeSyntax, r.name, pos, "its percent-escapes are not valid", encodeKVHint)
	case plus && r.use == usePassword:
		d.warn("password", "as in JDBC, a plus sign in it stands for a blank; write %2B for the sign itself")
	}
	return pair{key, value, pos}, nil
}

// jdbcHosts fills in the default, which is not the local socket, unless a service may name the
// host. A list of hosts can be replaced only by one as long: the ports of the first stay.
func jdbcHosts(p *parts, rules *dialect) *Error {
	elsewhere := false
	for _, one := range p.pairs {
		switch r := rules.lookup(one.key); {
		case r.use == useHost && len(p.hosts) > 1 && strings.Count(one.value, ",")+1 != len(p.hosts):
			return contradiction("host", one.pos)
		case r.use == useHost || r.name == "service":
			elsewhere = true
		}
	}
	if p.hosts == nil && !elsewhere {
		p.hosts = []Host{{}}
	}
	for i := range p.hosts {
		if p.hosts[i].Name == "" && !elsewhere {
			p.hosts[i].Name = "localhost"
		}
	}
	return nil
}
