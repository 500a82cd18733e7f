package urlfix

import (
	"cmp"
	"slices"
	"strings"
)

// npgsql is the ADO.NET form of Npgsql: the grammar of .NET's DbConnectionStringBuilder
// (GetKeyValuePair in DbConnectionOptions.Common.cs), the keys of NpgsqlConnectionStringBuilder.cs.
var npgsql = dialect{name: "npgsql", read: parseNpgsql, tool: &npgsqlTool}

// npgsqlTool has its keys without blanks and in lower case, see npgsqlKey. Synonyms share a rule.
var npgsqlTool = tool{name: "Npgsql", finish: finishNpgsql, rules: with(synonyms([]called{
	{"host server", &rule{name: "Host", use: useLater}},
	{"port", &rule{name: "Port", use: useLater}},
	{"database db", &rule{name: "Database", use: useDatabase}},
	{"username userid uid", &rule{name: "Username", use: useUser}},
	{"password pwd psw", &rule{name: "Password", use: usePassword}},
	{"applicationname", &rule{name: "Application Name", to: "application_name"}},
	{"searchpath", &rule{name: "Search Path", use: useSetting, to: "search_path", check: notEmpty}},
	{"timezone", &rule{name: "Timezone", use: useSetting, to: "timezone", check: notEmpty}},
	{"clientencoding", &rule{name: "Client Encoding", to: "client_encoding", check: checkEncoding,
		hint: "write Client Encoding=UTF8"}},
	{"encoding", &rule{name: "Encoding", use: useIgnore, check: checkEncoding,
		hint: "write Encoding=UTF8, or leave it out"}},

	{"sslmode", &rule{name: "SSL Mode", use: useLater, check: checkNpgsqlMode}},
	{"trustservercertificate", &rule{name: "Trust Server Certificate", use: useLater, check: checkBool}},
	{"sslnegotiation", &rule{name: "SSL Negotiation", to: "sslnegotiation", check: anyCase(oneOf("postgres", "direct"))}},
	{"sslcertificate clientcertificate", &rule{name: "SSL Certificate", use: useOptional, to: "sslcert", check: checkPEM,
		hint: hintPEM}},
	{"sslkey clientcertificatekey", &rule{name: "SSL Key", use: useOptional, to: "sslkey", check: checkPEM,
		hint: hintPEM}},
	{"rootcertificate", &rule{name: "Root Certificate", use: useOptional, to: "sslrootcert", check: checkPEM,
		hint: hintPEM}},
	{"checkcertificaterevocation", refused("Check Certificate Revocation",
		"name a list of revoked certificates as sslcrl", "false", "False")},
	{"gssencryptionmode", refused("GSS Encryption Mode", "GSSAPI encryption is not supported", "disable", "prefer",
		"Disable", "Prefer")},
	{"ssl", refused("SSL", "Npgsql 3 removed it; write SSL Mode=Require or SSL Mode=VerifyFull")},
	{"integratedsecurity", refused("Integrated Security", "write Username and Password; "+hintKerberos, "false", "False")},
	{"channelbinding", &rule{name: "Channel Binding", to: "channel_binding",
		check: anyCase(oneOf("disable", "prefer", "require"))}},
	{"requireauth", &rule{name: "Require Auth", use: useOptional, to: "require_auth", check: checkNpgsqlAuth}},
	{"kerberosservicename krbsrvname", &rule{name: "Kerberos Service Name", use: useOptional, to: "krbsrvname",
		drop: []string{"postgres"}}},

	{"targetsessionattributes", &rule{name: "Target Session Attributes", to: "target_session_attrs",
		hint:  "prefer-primary has no equal; write any or primary",
		check: anyCase(oneOf("any", "primary", "standby", "prefer-standby", "read-write", "read-only"))}},
	{"loadbalancehosts", &rule{name: "Load Balance Hosts", to: "load_balance_hosts",
		check: anyCase(oneOfThese("true", "random")), drop: []string{"false", "False"}}},
	{"timeout", &rule{name: "Timeout", to: "connect_timeout", check: checkCount}},
	{"tcpkeepalive", &rule{name: "TCP Keepalive", to: "keepalives",
		check: anyCase(oneOfThese("true", "1", "false", "0"))}},
	{"tcpkeepalivetime", &rule{name: "TCP Keepalive Time", to: "keepalives_idle", check: checkCount, drop: []string{"0"}}},
	{"tcpkeepaliveinterval", &rule{name: "TCP Keepalive Interval", to: "keepalives_interval", check: checkCount,
		drop: []string{"0"}}},
	{"keepalive", &rule{name: "Keepalive", use: useIgnore, drop: []string{"0"},
		warn: "left out: Npgsql asks an idle connection for a sign of life after so many seconds; " +
			"here, a connection is checked when it is taken"}},
	{"commandtimeout", &rule{name: "Command Timeout", use: useIgnore, drop: []string{"0"},
		warn: "left out: Npgsql ends a command after so many seconds; " +
			"give queries a context with a deadline, or set statement_timeout"}},

	{"maximumpoolsize maxpoolsize", &rule{name: "Maximum Pool Size", use: usePool, to: "pool_max_conns",
		check: checkPositive}},
	{"minimumpoolsize minpoolsize", &rule{name: "Minimum Pool Size", use: usePool, to: "pool_min_idle_conns",
		check: checkCount}},
	{"connectionidlelifetime", &rule{name: "Connection Idle Lifetime", use: usePool, to: "pool_max_conn_idle_time",
		check: checkSeconds, drop: []string{"0"}}},
	{"connectionlifetime loadbalancetimeout", &rule{name: "Connection Lifetime", use: usePool,
		to:    "pool_max_conn_lifetime",
		check: checkSeconds, drop: []string{"0"}}},
	{"connectionpruninginterval", &rule{name: "Connection Pruning Interval", use: usePool, to: "pool_health_check_period",
		check: checkSeconds, drop: []string{"0"}}},
	{"pooling", &rule{name: "Pooling", use: useIgnore, check: checkBool, drop: []string{"true", "True"},
		warn: "left out: connections are always pooled"}},
	{"maxautoprepare", ignored("Max Auto Prepare",
		"left out: statements are prepared at once; see statement_cache_capacity")},
	{"includeerrordetail includeerrordetails", ignored("Include Error Detail",
		"left out: what the server sends with an error is always there")},
	{"noresetonclose", ignored("No Reset On Close",
		"left out: a connection keeps what a session changed; change it back, or set it inside a transaction")},
	{"enlist", ignored("Enlist", "left out: there are no distributed transactions")},

	{"driver", refused("Driver", "this is a string for ODBC; "+shapeBoth)},
	{"datasource initialcatalog", refused("Data Source", "this is a string for another ADO.NET driver; "+shapeBoth)},
}), ignoredAll("left out: it is about the inside of Npgsql", `
	arraynullabilitymode autoprepareminusages cancellationtimeout convertinfinitydatetime hostrecheckseconds
	includefailedbatchedcommand includerealm internalcommandtimeout loadtablecomposites logparameters multiplexing
	persistsecurityinfo readbuffersize servercompatibilitymode socketreceivebuffersize socketsendbuffersize
	useperfcounters usesslstream writebuffersize writecoalescingbufferthresholdbytes
`))}

// called is a rule with all its keys, given as words.
type called struct {
	keys string
	rule *rule
}

// synonyms makes a table in which a rule stands under each of its keys.
func synonyms(all []called) map[string]*rule {
	m := make(map[string]*rule, len(all))
	for _, c := range all {
		for key := range strings.FieldsSeq(c.keys) {
			m[key] = c.rule
		}
	}
	return m
}

// npgsqlKey is the key under which the table has what is written as key: "SSL Mode" and "SslMode"
// are the same.
func npgsqlKey(key string) string { return strings.ToLower(strings.ReplaceAll(key, " ", "")) }

// checkNpgsqlMode reads the enum SslMode, also with libpq's hyphen.
func checkNpgsqlMode(value string) (string, string) {
	switch mode := strings.ReplaceAll(strings.ToLower(value), "-", ""); mode {
	case "disable", "allow", "prefer", "require":
		return mode, ""
	case "verifyca":
		return "verify-ca", ""
	case "verifyfull":
		return "verify-full", ""
	}
	return "", "the value is none of Disable, Allow, Prefer, Require, VerifyCA, VerifyFull"
}

// checkNpgsqlAuth gives the methods of authentication libpq's names (ParseAuthMode).
func checkNpgsqlAuth(value string) (string, string) {
	var methods []string
	for method := range strings.SplitSeq(strings.ToLower(value), ",") {
		if method = strings.Trim(method, " "); method != "" {
			methods = append(methods, strings.Replace(method, "scramsha256", "scram-sha-256", 1))
		}
	}
	return checkRequireAuth(strings.Join(methods, ","))
}

// finishNpgsql translates the parameters whose meaning depends on others.
func finishNpgsql(b *builder) *Error {
	b.npgsqlTLS()
	b.npgsqlHosts()
	return nil
}

// npgsqlTLS: what SSL Mode=Require checks was changed twice. Npgsql 8 checks nothing, 6 and 7
// refuse it without Trust Server Certificate=true, those before check the certificate unless that
// is true.
func (b *builder) npgsqlTLS() {
	mode, trust := b.later("SSL Mode"), b.later("Trust Server Certificate")
	switch {
	case !mode.ok:
		return
	case mode.value != "require":
	case !trust.ok:
		b.d.warn("SSL Mode",
			"as in Npgsql 8 and later, the server's certificate is not checked; SSL Mode=VerifyFull checks it")
	case trust.value == "false":
		mode.value = "verify-full"
		b.d.warn("Trust Server Certificate",
			"the server's certificate is checked, as Npgsql before 6 does; Npgsql 8 and later do not look at it")
	}
	b.decideMode(mode.value, mode.pos)
	b.d.change("SSL Mode", "became sslmode")
}

// npgsqlHosts reads a list of hosts, some of which may have a port of their own.
func (b *builder) npgsqlHosts() {
	host, port := b.later("Host"), b.later("Port")
	var names, ports []string
	anyPort := port.ok
	for element := range strings.SplitSeq(host.value, ",") {
		name, own := hostAndPort(strings.Trim(element, " "))
		names = append(names, name)
		ports = append(ports, cmp.Or(own, port.value))
		anyPort = anyPort || own != ""
	}
	b.seen.host = given{true, strings.Join(names, ","), host.pos}
	if anyPort {
		b.seen.port = given{true, strings.Join(ports, ","), cmp.Or(port.pos, host.pos)}
	}
}

const quoteADOHint = `put the value in double quotes, and double those inside it: Password="..."`

// parseNpgsql reads "Key=Value;..." The last value of a key counts, and an empty one takes the
// others back, except for the keys that must not have two values.
func parseNpgsql(d *DSN, s string, base int, rules *dialect) *Error {
	d.Dialect = rules.name
	var p parts
	var known []*rule // of p.pairs, each once
	for pos := skipSeparators(s, base); pos < len(s); pos = skipSeparators(s, pos) {
		r, start, err := readADOKey(s, pos, rules)
		if err != nil {
			return err
		}
		value, next, err := readADOValue(s, start, r)
		if err != nil {
			return err
		}
		one := pair{npgsqlKey(s[pos : start-1]), value, pos}
		i := slices.Index(known, r)
		switch empty := start == next || strings.Trim(s[start:next], " ") == ""; {
		case i >= 0 && p.pairs[i].value != value && r.decides():
			return contradiction(r.name, pos)
		case empty && i >= 0:
			known, p.pairs = slices.Delete(known, i, i+1), slices.Delete(p.pairs, i, i+1)
		case empty:
		case i >= 0:
			if p.pairs[i].value != value {
				d.warn(r.name, "given more than once: the last value counts")
			}
			p.pairs[i] = one
		default:
			known, p.pairs = append(known, r), append(p.pairs, one)
		}
		pos = next
	}
	if err := build(d, rules, &p); err != nil {
		return err
	}
	// Npgsql has no default for the host, and libpq's would send the password to another server.
	if len(d.Hosts) == 0 || slices.ContainsFunc(d.Hosts, func(h Host) bool { return h.Name == "" }) {
		return fault(CodeSyntax, "Host", -1, "it is missing", "add Host=HOST")
	}
	return nil
}

func skipSeparators(s string, pos int) int {
	for pos < len(s) && (s[pos] == ' ' || s[pos] == ';') {
		pos++
	}
	return pos
}

// readADOKey reads the key at pos. start is the offset after its "=".
func readADOKey(s string, pos int, rules *dialect) (r *rule, start int, err *Error) {
	eq := indexAny(s[pos:], "=")
	key := s[pos : pos+eq]
	start = pos + eq + 1
	if start > len(s) || strings.IndexByte(key, ';') >= 0 {
		return nil, 0, fault(CodeSyntax, "keyword", pos, `no "=" follows it`, quoteADOHint)
	}
	if r = rules.lookup(npgsqlKey(key)); r == nil || !npgsqlHas(r, npgsqlKey(key)) {
		return nil, 0, unknownIn(strings.Trim(key, " "), pos, "if it is part of a value, "+quoteADOHint, nil)
	}
	if start < len(s) && s[start] == '=' {
		return nil, 0, fault(CodeSyntax, r.name, start, `"==" is a "=" that belongs to the key`, quoteADOHint)
	}
	return r, start, nil
}

// npgsqlHas reports whether a key is Npgsql's or ours, and not only libpq's: those three have the
// same name in both.
func npgsqlHas(r *rule, key string) bool {
	switch key {
	case "passfile", "options", "sslpassword":
		return true
	}
	return r.use == useDriver || r.use == usePool || npgsqlTool.rules[key] != nil
}

// readADOValue reads the value at pos, quoted or not, and returns the offset of what ends it.
func readADOValue(s string, pos int, r *rule) (value string, next int, err *Error) {
	start := skipBlanks(s, pos)
	if start == len(s) || s[start] != '"' && s[start] != '\'' {
		next = start + indexAny(s[start:], ";")
		value = strings.Trim(s[start:next], " ")
		if strings.HasSuffix(value, `"`) || strings.HasSuffix(value, "'") {
			return "", 0, fault(CodeSyntax, r.name, start, "a quotation mark is at its end only", quoteADOHint)
		}
		return value, next, nil
	}
	quote := s[start : start+1]
	for next = start + 1; next < len(s); next++ {
		if s[next:next+1] != quote {
			continue
		}
		if !strings.HasPrefix(s[next+1:], quote) {
			value = strings.ReplaceAll(s[start+1:next], quote+quote, quote)
			if next = skipBlanks(s, next+1); next < len(s) && s[next] != ';' {
				return "", 0, fault(CodeSyntax, r.name, next, "text follows the closing quote", quoteADOHint)
			}
			return value, next, nil
		}
		next++
	}
	return "", 0, fault(CodeSyntax, r.name, start, "the closing quote is missing", quoteADOHint)
}

// adoNet reports whether s is a list of "Key=Value;". It is if its first key is Npgsql's and not
// libpq's. One that is both needs a second one: in libpq's form a password may hold ";".
func adoNet(s string) bool {
	first, rest, found := strings.Cut(strings.TrimLeft(s, "; "), ";")
	if !adoNetPair(first) || !found && strings.Count(s, "=") > 1 {
		return false
	}
	key, value, _ := strings.Cut(first, "=")
	r := libpqKeyword.lookup(strings.Trim(key, " "))
	if r == nil {
		return true
	}
	if strings.HasPrefix(strings.TrimLeft(value, " "), "'") {
		// In libpq's form no ";" follows a quoted value, but one may follow a quote in it, after a
		// backslash.
		_, next, err := readADOValue(s, strings.IndexByte(s, '=')+1, r)
		return err == nil && next < len(s) && !hasKeywordForm(s)
	}
	second, _, _ := strings.Cut(rest, ";")
	return found && !strings.Contains(value, "=") &&
		(strings.Trim(second, " ") == "" || adoNetPair(second) && strings.Count(second, "=") == 1)
}

// adoNetPair reports whether pair starts with a key of Npgsql.
func adoNetPair(pair string) bool {
	key, _, found := strings.Cut(pair, "=")
	return found && npgsqlTool.rules[npgsqlKey(key)] != nil
}
