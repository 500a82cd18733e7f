package urlfix

import (
	"strconv"
	"strings"
)

// Rules that mean the same to more than one tool. The tools hold the same pointer, so that such a
// key in a plain URI is clear although nothing tells which of them wrote it (foreign.go).
var (
	// currentSchema is JDBC's, and dj-database-url's after it. The value is a search_path as it
	// stands.
	currentSchema = &rule{name: "currentSchema", use: useSetting, to: "search_path", check: notEmpty}
	// charset is Doctrine's and Laravel's, from MySQL.
	charset = &rule{name: "charset", use: useIgnore, check: checkEncoding, hint: "write charset=utf8, or leave it out"}
	// poolSize is the number of connections that Ecto opens, at once and for good.
	poolSize = &rule{name: "pool_size", use: usePool, to: "pool_max_conns", check: checkPositive}
	// pool is the size of Rails' pool. Guides of Prisma write pool=true.
	pool = &rule{name: "pool", use: usePool, to: "pool_max_conns", check: checkPositive,
		drop: []string{"-1", "true"}}
	// checkoutTimeout and preparedStatements are Rails', and Crystal's after it.
	checkoutTimeout    = &rule{name: "checkout_timeout", use: usePool, to: "pool_acquire_timeout", check: checkFraction}
	preparedStatements = &rule{name: "prepared_statements", use: useDriver, to: "default_query_exec_mode",
		drop: []string{"true"}, check: oneOfThese("false", "exec")}
	// maxConnections is the size of Rails' pool since 8.1, and of peewee's.
	maxConnections = &rule{name: "max_connections", use: usePool, to: "pool_max_conns", check: checkPositive,
		drop: []string{"-1"}}
	// prepare is Ecto's and postgres.js', with values of their own; see finishPrepare.
	prepare = &rule{name: "prepare", use: useLater,
		check: oneOfThese("named", "named", "true", "named", "unnamed", "unnamed", "false", "unnamed")}
	// timeout is the time of a query to Ecto, and SQLite's to Django.
	timeout = &rule{name: "timeout", use: useIgnore, check: checkTimeoutOrInfinity,
		warn: "left out: Ecto ends a query after this time, Django and Rails have it for SQLite; " +
			"give the query a context with a deadline, or set statement_timeout"}
)

const (
	hintPEM      = "convert it to PEM, with openssl pkcs12 or openssl pkcs8, and name the new file"
	hintKerberos = "Kerberos is set up in code"
	hintInCode   = "its part is played by code, which a connection string cannot bring along; " +
		"configure the connection in code"
)

// checkPEM refuses the names of files in the formats that Java and .NET prefer, which crypto/tls
// does not read.
func checkPEM(value string) (string, string) {
	lower := strings.ToLower(value)
	for _, suffix := range [...]string{".pk8", ".p12", ".pfx", ".der", ".jks"} {
		if strings.HasSuffix(lower, suffix) {
			return "", "it is no PEM file"
		}
	}
	return value, ""
}

// checkTimeoutOrInfinity reads a number, which may have a fraction, or the word that Ecto has for
// none.
func checkTimeoutOrInfinity(value string) (string, string) {
	if _, err := strconv.ParseFloat(value, 64); err == nil || value == "infinity" {
		return value, ""
	}
	return "", "the value is not a number"
}

// checkPositive reads the size of a pool, which has room for one connection at least.
func checkPositive(value string) (string, string) {
	if text, reason := checkCount(value); reason == "" && text != "0" {
		return text, ""
	}
	return "", "the value is not a number from 1 on"
}

// checkMillisAsSeconds makes whole seconds of milliseconds. A part of a second counts as one, since
// 0 is for ever.
func checkMillisAsSeconds(value string) (string, string) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return "", "the value is not a whole number of milliseconds"
	}
	return strconv.FormatUint((n+999)/1000, 10), ""
}

// oneOfThese makes the check for a parameter whose values have other names than libpq's: pairs of a
// value and what it becomes.
func oneOfThese(pairs ...string) func(string) (string, string) {
	var known []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != "" {
			known = append(known, pairs[i])
		}
	}
	reason := "the value is none of " + strings.Join(known, ", ")
	return func(value string) (string, string) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == value {
				return pairs[i+1], ""
			}
		}
		return "", reason
	}
}

// anyCase makes a check deaf to the case of letters.
func anyCase(check func(string) (string, string)) func(string) (string, string) {
	return func(value string) (string, string) { return check(strings.ToLower(value)) }
}

// exec makes pgx prepare no statement under a name, which is what a tool's setting comes to.
func (b *builder) exec(part string) {
	b.set(&b.d.Driver, "default_query_exec_mode", "exec")
	b.d.change(part, "became default_query_exec_mode=exec: no statement is prepared under a name")
}

// finishPrepare gives the rule prepare its meaning.
func (b *builder) finishPrepare() {
	if b.later(prepare.name).value == "unnamed" {
		b.exec(prepare.name)
	}
}

// verify sets verify-full, with the roots of the system if the string names no file.
func (b *builder) verify() {
	b.setMode("verify-full")
	if param(b.d, "sslrootcert") == nil {
		b.set(&b.d.Params, "sslrootcert", "system")
	}
}

// sslVerifies reports whether a plain URI has ssl=true, which is require to libpq, and gives it the
// meaning that it has for the tool whose keys stand next to it: verify-full.
func (b *builder) sslVerifies() bool {
	mode, alias := &b.seen.mode, &b.seen.modeByAlias
	if b.rules.tool != nil || b.seen.sslText != "true" || alias.value != "require" || mode.ok && mode.value != "require" {
		return false
	}
	alias.value = "verify-full"
	if mode.ok {
		mode.value = "verify-full"
	}
	b.setMode("verify-full")
	b.d.warn("ssl",
		"became sslmode=verify-full, which it means to the tool that the other parameters belong to; "+
			"to libpq it is sslmode=require")
	return true
}

// with adds rules to a table.
func with(rules map[string]*rule, more []*rule) map[string]*rule {
	for _, r := range more {
		rules[r.name] = r
	}
	return rules
}

// ignoredAll makes the rules for parameters, given as words, that have no meaning in a Go driver,
// all for one reason.
func ignoredAll(why, names string) []*rule {
	var rules []*rule
	for name := range strings.FieldsSeq(names) {
		rules = append(rules, ignored(name, why))
	}
	return rules
}
