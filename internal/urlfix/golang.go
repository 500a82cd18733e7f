package urlfix

import "strings"

// The dialects of other Go tools. pgx reads libpq's forms, see libpqURI.

// libpqGoURI and libpqGoKeyword are what lib/pq reads: connector.go and conn.go.
var (
	libpqGoURI = dialect{name: "libpq-go", read: parseLibpqGo, tool: &libpqGoTool, query: queryForm, settings: true,
		defaults: libpqGoDefaults}
	libpqGoKeyword = dialect{name: "libpq-go", read: parseKeywordValue, tool: &libpqGoTool, settings: true,
		defaults: libpqGoDefaults}
)

var libpqGoTool = tool{name: "lib/pq", finishLater: finishLibpqGo, rules: table(
	&rule{name: "binary_parameters", use: useLater, check: checkGoBool},
	&rule{name: "disable_prepared_binary_result", use: useIgnore, check: checkGoBool},
	&rule{name: "sslinline", use: useRefuse, drop: []string{"false", "no", "0"},
		hint: "put certificate and key into files, and name them as sslcert and sslkey"},
	&rule{name: "tz", use: useSetting, to: "timezone", check: notEmpty},
)}

// checkGoBool reads a boolean of lib/pq (ParseBool in internal/pqutil).
func checkGoBool(value string) (string, string) {
	switch value {
	case "yes", "on", "true", "1":
		return "yes", ""
	case "no", "off", "false", "0":
		return "no", ""
	}
	return "", "the value is neither yes nor no"
}

// finishLibpqGo: parameters in the binary format need no statement that was prepared before.
func finishLibpqGo(b *builder) *Error {
	if b.later("binary_parameters").value == "yes" {
		b.exec("binary_parameters")
	}
	return nil
}

// libpqGoDefaults: without sslmode, lib/pq insisted on TLS in all its versions but the latest.
func libpqGoDefaults(b *builder) {
	root := param(b.d, "sslrootcert")
	if param(b.d, "sslmode") == nil && (root == nil || root.Value != "system") { // system implies verify-full
		b.setMode("require")
		b.d.change("sslmode", "became require, lib/pq's default")
	}
}

// parseLibpqGo reads a URI as convertURL in connector.go of lib/pq does, with net/url: "#" begins a
// fragment, which lib/pq leaves out. A fragment that may be a part of the password or hold
// parameters is refused.
func parseLibpqGo(d *DSN, s string, base int, rules *dialect) *Error {
	if i := strings.IndexByte(s, '#'); i >= 0 {
		if strings.ContainsAny(s[i:], "@=") {
			return fault(CodeAmbiguous, "fragment", i, `to lib/pq, "#" begins a fragment, and what follows it looks like more`,
				encodeHint)
		}
		s = s[:i]
		d.warn("fragment", `left out, as in lib/pq; in a value, write # as %23`)
	}
	return parseWebForm(d, s, base, rules, webForm{path: unquote, query: readURLQuery})
}

// readURLQuery reads parameters as ParseQuery of net/url does. It leaves out one without "=", and
// fails where net/url skips one because of a semicolon.
func readURLQuery(d *DSN, p *parts, s string, pos int, rules *dialect) *Error {
	for pos < len(s) {
		end := pos + indexAny(s[pos:], "&")
		switch raw := s[pos:end]; {
		case raw == "":
		case strings.IndexByte(raw, ';') >= 0:
			return fault(CodeSyntax, "query", pos, "lib/pq leaves out a parameter with a semicolon", "write ; as %3B")
		case strings.IndexByte(raw, '=') < 0 && rules.lookup(raw) != nil:
			d.warn(rules.lookup(raw).name, "left out: it has no value")
		default:
			one, err := readUnquotedPair(raw, pos, rules)
			if err != nil {
				return err
			}
			if p.pairs = append(p.pairs, one); len(p.pairs) > maxParams {
				return tooManyParams()
			}
		}
		pos = end + 1
	}
	return nil
}

// migrateURI is what golang-migrate reads, which takes out its own parameters and hands the rest to
// pgx: Open in database/pgx/v5/pgx.go.
var migrateURI = dialect{name: "golang-migrate", answers: []string{"pgx"}, read: parseWeb, tool: &migrateTool,
	query: queryForm, settings: true}

var migrateTool = tool{name: "golang-migrate", rules: with(table(), ignoredAll("left out: it is about migrations", `
	x-force-lock x-lock-strategy x-lock-table x-max-retries x-max-retry-elapsed-time x-max-retry-interval
	x-migrations-table x-migrations-table-quoted x-multi-statement x-multi-statement-max-size x-statement-timeout
`))}

// dburlUnix is dburl's form for a socket directory: pg+unix:/DIRECTORY:PORT/DATABASE (GenPostgres
// in dsn.go).
var dburlUnix = dialect{name: "dburl", answers: []string{"pgx", "libpq-go"}, read: parseDburlUnix, tool: &libpqGoTool,
	query: queryForm, settings: true}

// parseDburlUnix reads "USER:PASSWORD@" and then a path. What has no path is a URI without its
// slashes.
func parseDburlUnix(d *DSN, s string, base int, rules *dialect) *Error {
	end := base + indexAny(s[base:], "?")
	path := base
	if i := strings.Index(s[base:end], "@/"); i >= 0 {
		path = base + i + len("@")
	}
	switch {
	case strings.HasPrefix(s[path:], "."):
		return fault(CodeSyntax, "host", path, "a socket directory cannot be given from the current directory", hostShapeHint)
	case s[path:end] == "" || s[path] != '/':
		return parseWeb(d, s, base, rules)
	}
	d.Dialect = rules.name
	var p parts
	if path > base {
		if err := readUnquoted(&p, s, base, path-len("@")); err != nil {
			return err
		}
	}
	dir, port, database, known := cutSocketPath(s[path:end])
	number, ok := readPort(port)
	switch {
	case !known:
		return fault(CodeAmbiguous, "host", path, "its last part may be the database, or belong to the socket directory",
			"write pg+unix:/DIRECTORY:PORT/DATABASE, or postgres:///DATABASE?host=/DIRECTORY")
	case !ok:
		return fault(CodeValue, "port", path, "it is not a number from 1 to 65535", portHint)
	case checkHost(dir) != "":
		return fault(CodeValue, "host", path, checkHost(dir), hostShapeHint)
	case strings.IndexByte(dir, '@') >= 0:
		return fault(CodeAmbiguous, "host", path, reasonRawAt, encodeHint)
	}
	p.hosts, p.ports, p.database = []Host{{Name: dir, Port: number}}, number != 0, database
	if err := readWebQuery(&p, s, end+1, rules); err != nil {
		return err
	}
	return build(d, rules, &p)
}

// cutSocketPath splits "/DIRECTORY:PORT/DATABASE". dburl looks at the file system to see where the
// directory ends; the port tells it as well, and so do the directories that servers use.
func cutSocketPath(path string) (dir, port, database string, known bool) {
	if colon := strings.IndexByte(path, ':'); colon >= 0 {
		port, database, _ = strings.Cut(path[colon+1:], "/")
		return path[:colon], port, database, true
	}
	for _, dir := range [...]string{"/var/run/postgresql", "/run/postgresql", "/tmp"} {
		if rest, ok := strings.CutPrefix(path, dir); ok && (rest == "" || rest[0] == '/') {
			return dir, "", strings.TrimPrefix(rest, "/"), true
		}
	}
	return "", "", "", false
}
