package urlfix

import (
	"math"
	"strconv"
)

// More rules that several tools share, like those in shared.go: the ones about pools and
// statements.
var (
	// maxConns is node-postgres' and postgres.js'.
	maxConns = &rule{name: "max", use: usePool, to: "pool_max_conns", check: checkPositive}
	// idleTimeout is in seconds to postgres.js and Rails. To both, zero is never.
	idleTimeout = &rule{name: "idle_timeout", use: usePool, to: "pool_max_conn_idle_time", check: checkFraction,
		drop: []string{"0", "-1"}}
	// encoding is Rails', and has no effect in node-postgres.
	encoding = &rule{name: "encoding", use: useIgnore, check: checkEncoding, hint: "write encoding=utf8, or leave it out"}
	// statementCacheSize is Prisma's and asyncpg's: the number of prepared statements to keep.
	statementCacheSize = &rule{name: "statement_cache_size", use: useLater, check: checkCount}
)

// finishStatementCacheSize: pgx has no mode that prepares statements and keeps none.
func (b *builder) finishStatementCacheSize() {
	name := statementCacheSize.name
	switch size := b.later(name); {
	case !size.ok || b.hasDriver("statement_cache_capacity") || b.hasDriver("default_query_exec_mode"):
	case size.value == "0":
		b.exec(name)
	default:
		b.set(&b.d.Driver, "statement_cache_capacity", size.value)
		b.d.change(name, "became statement_cache_capacity")
	}
}

// hasDriver reports whether there is a value for the driver's key already.
func (b *builder) hasDriver(key string) bool {
	for _, p := range b.d.Driver {
		if p.Key == key {
			return true
		}
	}
	return false
}

// solely reports whether the tool called name is the only one that can have written the string: it
// was named, or a plain URI has a key that no other tool knows.
func (b *builder) solely(name string) bool {
	return b.rules.tool != nil || len(b.seen.tools) == 1 && b.seen.tools[0].name == name
}

// decideMode sets sslmode in place of all that the string says about it.
func (b *builder) decideMode(mode string, pos int) {
	b.seen.mode, b.seen.modeByAlias = given{true, mode, pos}, given{}
	b.setMode(mode)
}

// checkFraction reads seconds that may have a fraction.
func checkFraction(value string) (string, string) {
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || !(seconds > 0) || seconds > math.MaxInt32 {
		return "", "the value is not a number of seconds"
	}
	if seconds == math.Trunc(seconds) {
		return strconv.FormatInt(int64(seconds), 10) + "s", ""
	}
	return strconv.FormatInt(int64(math.Ceil(seconds*1000)), 10) + "ms", ""
}
