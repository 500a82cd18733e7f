package urlfix

import (
	"maps"
	"slices"
	"strings"
)

// parseDetected finds the dialect of a string, by its form or by its name.
func parseDetected(d *DSN, s, given string) *Error {
	name, err := nameOf(s, given)
	if err != nil {
		return err
	}
	rules, base, err := detect(s)
	if err != nil {
		return err
	}
	if name != "" && !rules.answersTo(name) {
		if rules = named[name].instead(rules); rules == nil {
			return fault(CodeConflict, "dialect", -1, "the string has the form of another dialect than the one that is named",
				"leave the name out: this form tells the dialect by itself")
		}
	}
	if strings.IndexFunc(s[:base], upper) >= 0 && strings.HasSuffix(s[:base], "://") {
		d.change("scheme", "written in lower case")
	}
	if err := rules.read(d, s, base, rules); err != nil {
		return err
	}
	return confirmName(d, name, given)
}

// confirmName refuses a name that the string does not give as a parameter, but inside another
// value, a password say; and one that it gives twice.
func confirmName(d *DSN, name, given string) *Error {
	found := given != "" || name == ""
	for _, p := range d.Driver {
		if p.Key != dialectKey {
			continue
		}
		if p.Value != name {
			return fault(CodeAmbiguous, dialectKey, -1, "it stands in the string more than once, or percent-encoded",
				"write it once, as it is")
		}
		found = true
	}
	if !found {
		return fault(CodeAmbiguous, dialectKey, -1, "it stands inside another value",
			"percent-encode that value, or name the dialect in code")
	}
	return nil
}

func upper(r rune) bool { return 'A' <= r && r <= 'Z' }

// dialectKey is the parameter that names the dialect.
const dialectKey = "pgsafe_dialect"

// nameOf returns the name of the dialect: the one the caller gives, which the string must not
// contradict.
func nameOf(s, given string) (string, *Error) {
	name := given
	if i := strings.Index(s, dialectKey); i >= 0 {
		rest := strings.TrimLeft(s[i+len(dialectKey):], " ")
		if value, ok := strings.CutPrefix(rest, "="); ok {
			name = leadingName(strings.TrimLeft(value, " '\""))
		}
		if given != "" && name != given {
			return "", fault(CodeConflict, dialectKey, i, "it contradicts the dialect that the caller names",
				"leave one of the two out")
		}
	}
	if _, known := named[name]; !known && name != "" {
		return "", fault(CodeValue, dialectKey, -1, "no dialect has this name", "known are "+strings.Join(Dialects(), ", "))
	}
	return name, nil
}

// leadingName returns the letters, digits and hyphens that s starts with.
func leadingName(s string) string {
	for i := range len(s) {
		if !letterOrDigit(s[i]) && s[i] != '-' {
			return s[:i]
		}
	}
	return s
}

// Dialects returns the names that Parse knows, in alphabetical order.
func Dialects() []string { return slices.Sorted(maps.Keys(named)) }

// instead returns the dialect that reads a string of libpq's form in place of rules, or nil.
func (f forms) instead(rules *dialect) *dialect {
	switch rules {
	case &libpqURI:
		return f.uri
	case &libpqKeyword:
		return f.keyword
	}
	return nil
}

// detect finds the dialect of a string by its form, and the offset where its grammar begins.
func detect(s string) (rules *dialect, base int, err *Error) {
	if strings.Trim(s, " ") == "" {
		return &libpqKeyword, 0, nil
	}
	if s[0] == ' ' || s[len(s)-1] == ' ' {
		if _, _, ok := cutScheme(strings.TrimLeft(s, " ")); ok {
			return nil, 0, fault(CodeSyntax, "string", 0, "there are blanks around it", "trim the string before use")
		}
	}
	if scheme, base, ok := cutScheme(s); ok {
		rules, err = schemeDialect(strings.ToLower(scheme))
		return rules, base, err
	}
	for _, o := range opaque {
		if len(s) >= len(o.prefix) && strings.EqualFold(s[:len(o.prefix)], o.prefix) {
			if o.rules == nil {
				return nil, 0, fault(o.code, "scheme", 0, o.reason, o.hint)
			}
			return o.rules, len(o.prefix), nil
		}
	}
	if adoNet(s) {
		return &npgsql, 0, nil
	}
	if strings.IndexByte(s, '=') < 0 {
		return nil, 0, fault(CodeSyntax, "string", -1, "it is neither a URI nor a list of keyword=value pairs", shapeBoth)
	}
	return &libpqKeyword, 0, nil
}

// cutScheme returns the text before "://" if it has the form of a scheme.
func cutScheme(s string) (scheme string, base int, ok bool) {
	i := strings.Index(s, "://")
	if i <= 0 {
		return "", 0, false
	}
	for j := range i {
		if c := s[j]; !letterOrDigit(c) && c != '+' && c != '-' && c != '.' && c != '_' {
			return "", 0, false
		}
	}
	return s[:i], i + len("://"), true
}

// schemeDialect finds the dialect of a URI by its scheme, which is in lower case here.
func schemeDialect(scheme string) (*dialect, *Error) {
	if scheme == "postgres" || scheme == "postgresql" {
		return &libpqURI, nil
	}
	scheme = strings.TrimPrefix(scheme, "db+") // Celery's, before a URL of SQLAlchemy
	if scheme == "postgres" || scheme == "postgresql" {
		return sqlalchemyDrivers["psycopg2"], nil
	}
	if rules := sqlalchemyDialect(scheme); rules != nil {
		return rules, nil
	}
	if rules, ok := schemes[scheme]; ok {
		return rules, nil
	}
	name, _, driver := strings.Cut(scheme, "+")
	if other, ok := otherDatabases[name]; ok {
		return nil, fault(CodeOtherDatabase, "scheme", 0, thisIs+other+notPostgres, shapeURI)
	}
	if driver && (name == "postgres" || name == "postgresql" || name == "cockroachdb") {
		return nil, fault(CodeUnsupported, "scheme", 0, "the driver after \"+\" is not known",
			"known are psycopg2, psycopg, psycopg_async, asyncpg and pg8000; "+shapeURI)
	}
	return nil, fault(CodeUnsupported, "scheme", 0, "it is not known", shapeURI)
}

// schemes are the schemes of single tools.
var schemes = map[string]*dialect{
	"ecto": &ectoURI, "pg": &nodeURI, "socket": &nodeSocket,
	"pdo-pgsql": &doctrineURI, "pdo_pgsql": &doctrineURI,
	"postgis": &postgisURI, "timescale": &djangoURI, "timescalegis": &djangoURI, "timescaledb": &djangoURI,
	"prometheus-postgresql": &djangoURI, "prometheus-postgis": &djangoURI,
	"redshift": &djangoURI, "pgsql": &djangoURI, "psql": &djangoURI, "cockroach": &djangoURI,
	"pgx": &migrateURI, "pgx4": &migrateURI, "pgx5": &migrateURI, "crdb-postgres": &migrateURI,
	"yugabyte": &migrateURI, "yugabytedb": &migrateURI,
	"asyncpg": &asyncpgURI, "psycopg": &psycopgURI,
	"postgres+pool": &peeweeURI, "postgresql+pool": &peeweeURI, "postgresext": &peeweeURI,
	"postgresext+pool": &peeweeURI,
	"postgres+tcp":     &dburlURI, "postgresql+tcp": &dburlURI, "pg+tcp": &dburlURI, "pgsql+tcp": &dburlURI,
	"crdb": &dburlURI, "cr": &dburlURI, "cdb": &dburlURI,
	"pg+unix": &dburlUnix, "pgsql+unix": &dburlUnix, "postgres+unix": &dburlUnix, "postgresql+unix": &dburlUnix,
}

const (
	thisIs      = "this is a connection string of "
	notPostgres = ", not of PostgreSQL"
)

// otherDatabases are the schemes that can only be a mistake.
var otherDatabases = map[string]string{
	"mysql": "MySQL", "mysql2": "MySQL", "mariadb": "MariaDB", "sqlite": "SQLite", "sqlite3": "SQLite",
	"libsql": "libSQL", "duckdb": "DuckDB", "mongodb": "MongoDB", "redis": "Redis", "rediss": "Redis",
	"valkey": "Valkey", "mssql": "SQL Server", "sqlserver": "SQL Server", "oracle": "Oracle", "db2": "Db2",
	"clickhouse": "ClickHouse", "snowflake": "Snowflake", "bigquery": "BigQuery", "cassandra": "Cassandra",
	"neo4j": "Neo4j", "bolt": "Neo4j", "couchbase": "Couchbase", "amqp": "AMQP", "amqps": "AMQP",
	"kafka": "Kafka", "nats": "NATS", "prisma": "Prisma Accelerate", "http": "a web server", "https": "a web server",
	"ftp": "an FTP server", "ws": "a web server", "wss": "a web server", "ssh": "SSH", "ldap": "LDAP",
	"ldaps": "LDAP", "s3": "S3", "file": "a file", "odbc": "ODBC",
}

// opaque are the strings that are told by what stands before the first colon.
var opaque = []struct {
	prefix       string
	rules        *dialect
	code         Code // if rules is nil
	reason, hint string
}{
	{"jdbc:postgresql:", &jdbc, "", "", ""},
	{"jdbc:aws-wrapper:postgresql:", &jdbc, "", "", ""},
	{"jdbc:p6spy:postgresql:", &jdbc, "", "", ""},
	{"jdbc:otel:postgresql:", &jdbc, "", "", ""},
	{"jdbc:tracing:postgresql:", &jdbc, "", "", ""},
	{"jdbc:yugabytedb:", &jdbcYugabyte, "", "", ""},
	{"r2dbc:postgresql:", &r2dbc, "", "", ""},
	{"r2dbc:postgres:", &r2dbc, "", "", ""},
	{"r2dbc:pool:postgresql:", &r2dbc, "", "", ""},
	{"r2dbc:pool:postgres:", &r2dbc, "", "", ""},
	{"r2dbc:", nil, CodeOtherDatabase, thisIs + "another R2DBC driver" + notPostgres, shapeURI},
	{"jdbc:postgres:", nil, CodeSyntax, "the JDBC driver is called postgresql",
		"write jdbc:postgresql://HOST:PORT/DATABASE"},
	{"jdbc:", nil, CodeOtherDatabase, thisIs + "another JDBC driver" + notPostgres, shapeURI},
	{"pgsql:", &pdo, "", "", ""},
	{"pg:", &dburlUnix, "", "", ""},
	{"pg+unix:", &dburlUnix, "", "", ""},
	{"pgsql+unix:", &dburlUnix, "", "", ""},
	{"postgres+unix:", &dburlUnix, "", "", ""},
	{"postgresql+unix:", &dburlUnix, "", "", ""},
	{"socket:", &nodeSocket, "", "", ""},
	{"sqlite:", nil, CodeOtherDatabase, thisIs + "SQLite" + notPostgres, shapeURI},
	{"file:", nil, CodeOtherDatabase, thisIs + "SQLite" + notPostgres, shapeURI},
	{"mysql:", nil, CodeOtherDatabase, thisIs + "MySQL" + notPostgres, shapeURI},
	{"sqlsrv:", nil, CodeOtherDatabase, thisIs + "SQL Server" + notPostgres, shapeURI},
	{"postgres:", nil, CodeSyntax, "two slashes must follow the colon", shapeURI},
	{"postgresql:", nil, CodeSyntax, "two slashes must follow the colon", shapeURI},
}
