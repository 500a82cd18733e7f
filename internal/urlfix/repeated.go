package urlfix

import (
	"slices"
	"strings"
)

// Parameters that are given more than once. libpq takes the last value in silence
// (conninfo_storeval, fe-connect.c), and lib/pq and django-environ the first (url.Values.Get). So
// the order of two values of sslmode turns TLS off in one tool and not in the other. What names the
// server or the user, or protects the connection, must not have two different values. Of other
// parameters the last value counts, with a warning.

// decisive are such parameters, under libpq's name or the one of a rule with useLater. Those with a
// use of their own are in rule.decides.
var decisive = func() map[string]bool {
	m := make(map[string]bool)
	for name := range strings.FieldsSeq(`
		hostaddr service passfile target_session_attrs require_auth channel_binding requirepeer krbsrvname
		sslcert sslkey sslrootcert sslcrl sslcrldir sslcertmode sslsni sslnegotiation
		ssl_min_protocol_version ssl_max_protocol_version
		ssl sslmode sslaccept sslfactory uselibpqcompat Host Port`) {
		m[name] = true
	}
	m["SSL Mode"], m["Trust Server Certificate"] = true, true
	return m
}()

// decides reports whether the parameter must not have two different values.
func (r *rule) decides() bool {
	switch r.use {
	case useUser, usePassword, useHost, usePort, useDatabase, useSSLPassword, useSSLMode, useSSL:
		return true
	case useParam, useOptional, useLater:
		return decisive[r.target()]
	}
	return false
}

// place is what two names of the same parameter have in common.
func (r *rule) place() string {
	switch r.use {
	case useUser:
		return "user"
	case usePassword:
		return "password"
	case useHost:
		return "host"
	case usePort:
		return "port"
	case useDatabase:
		return "database"
	}
	return r.target()
}

// contradiction is the error for what stands in two places with two values.
func contradiction(part string, pos int) *Error {
	return fault(CodeConflict, part, pos, "it is given twice, with different values", "leave one of the two out")
}

// checkRepeated refuses a decisive parameter with two values, before a tool's own rules choose one
// of them.
func checkRepeated(pairs []pair, rules *dialect) *Error {
	first := make(map[string]string)
	for _, one := range pairs {
		r := rules.lookup(one.key)
		if r == nil || !r.decides() {
			continue
		}
		if value, again := first[r.place()]; again && value != one.value {
			return contradiction(r.name, one.pos)
		}
		first[r.place()] = one.value
	}
	return nil
}

// setParam is set for a keyword of libpq.
func (b *builder) setParam(r *rule, one pair, value string) *Error {
	if key := r.target(); decisive[key] {
		earlier := param(b.d, key)
		if earlier != nil && earlier.Value != value || earlier == nil && slices.Contains(b.d.Empty, key) {
			return contradiction(r.name, one.pos)
		}
	}
	b.set(&b.d.Params, r.target(), value)
	return nil
}

// checkDatabase refuses a second name of the database. Beside a path, asyncpg and node-postgres
// take the path, and lib/pq and pgx the parameter. JDBC and SQLAlchemy take the parameter, but
// SQLAlchemy fails on the name "database" (make_dsn of psycopg2).
func (b *builder) checkDatabase(r *rule, one pair) *Error {
	switch {
	case b.seen.databaseSet && one.value != b.d.Database:
		return contradiction("database", one.pos)
	case b.p.database == "" || one.value == b.p.database:
		return nil
	case b.rules.queryWins && one.key != "database":
		b.d.warn(r.name, "it replaces the database before the query")
		return nil
	}
	return fault(CodeConflict, "database", one.pos,
		"the path names another database, and tools differ on which one counts", "leave one of the two out")
}

// keepOne remembers a parameter that gets its meaning at the end.
func keepOne(g *given, part string, one pair) *Error {
	if g.ok && g.value != one.value {
		return contradiction(part, one.pos)
	}
	*g = given{true, one.value, one.pos}
	return nil
}
