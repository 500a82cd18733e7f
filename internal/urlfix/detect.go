package urlfix

import "strings"

// parseDetected finds the dialect of a string that has none of libpq's two schemes, letter by letter.
func parseDetected(d *DSN, s string) *Error {
	if strings.Trim(s, " ") == "" {
		d.Dialect = libpqKeyword.name
		return nil
	}
	if s[0] == ' ' || s[len(s)-1] == ' ' {
		if _, _, ok := cutScheme(strings.TrimLeft(s, " ")); ok {
			return fault(CodeSyntax, "string", 0, "there are blanks around it", "trim the string before use")
		}
	}
	if scheme, base, ok := cutScheme(s); ok {
		return parseScheme(d, s, strings.ToLower(scheme), base)
	}
	if err := refuseOpaque(s); err != nil {
		return err
	}
	if adoNet(s) {
		return unsupportedDialect("Npgsql (ADO.NET)")
	}
	if strings.IndexByte(s, '=') < 0 {
		return fault(CodeSyntax, "string", -1, "it is neither a URI nor a list of keyword=value pairs", shapeBoth)
	}
	return parseKeywordValue(d, s)
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

// parseScheme finds the dialect of a string by its scheme, which is in lower case here. Schemes have no case.
func parseScheme(d *DSN, s, scheme string, base int) *Error {
	switch scheme {
	case "postgres", "postgresql":
		d.change("scheme", "written in lower case")
		return parseURI(d, s, base, &libpqURI)
	}
	if rules := sqlalchemyDialect(scheme); rules != nil {
		return parseSQLAlchemy(d, s, base, rules)
	}
	if tool, ok := foreignSchemes[scheme]; ok {
		return unsupportedDialect(tool)
	}
	name, _, driver := strings.Cut(scheme, "+")
	if other, ok := otherDatabases[name]; ok {
		return otherDatabase(other)
	}
	if driver && (name == "postgres" || name == "postgresql" || name == "cockroachdb") {
		return fault(CodeUnsupported, "scheme", 0, "the driver after \"+\" is not known",
			"known are psycopg2, psycopg, psycopg_async, asyncpg and pg8000; "+shapeURI)
	}
	return fault(CodeUnsupported, "scheme", 0, "it is not known", shapeURI)
}

func unsupportedDialect(tool string) *Error {
	return fault(CodeUnsupported, "scheme", 0, "strings of "+tool+" are not supported yet", shapeBoth)
}

func otherDatabase(name string) *Error {
	return fault(CodeOtherDatabase, "scheme", 0, "this is a connection string of "+name+", not of PostgreSQL", shapeURI)
}

// foreignSchemes name the PostgreSQL tools whose own schemes are recognised, in order to say so.
var foreignSchemes = map[string]string{
	"ecto": "Ecto", "postgis": "Django", "timescale": "Django", "timescalegis": "Django", "redshift": "Django",
	"pgsql": "Django", "cockroach": "Django", "pgx": "golang-migrate", "pgx4": "golang-migrate",
	"pgx5": "golang-migrate", "pg": "node-postgres", "pg+unix": "dburl", "postgres+unix": "dburl",
	"prisma": "Prisma Accelerate", "prisma+postgres": "Prisma Accelerate", "socket": "node-postgres",
}

// otherDatabases are the schemes that can only be a mistake.
var otherDatabases = map[string]string{
	"mysql": "MySQL", "mysql2": "MySQL", "mariadb": "MariaDB", "sqlite": "SQLite", "sqlite3": "SQLite",
	"libsql": "libSQL", "duckdb": "DuckDB", "mongodb": "MongoDB", "redis": "Redis", "rediss": "Redis",
	"valkey": "Valkey", "mssql": "SQL Server", "sqlserver": "SQL Server", "oracle": "Oracle", "db2": "Db2",
	"clickhouse": "ClickHouse", "snowflake": "Snowflake", "bigquery": "BigQuery", "cassandra": "Cassandra",
	"neo4j": "Neo4j", "bolt": "Neo4j", "couchbase": "Couchbase", "amqp": "AMQP", "amqps": "AMQP",
	"kafka": "Kafka", "nats": "NATS", "http": "a web server", "https": "a web server", "ftp": "an FTP server",
	"ws": "a web server", "wss": "a web server", "ssh": "SSH", "ldap": "LDAP", "ldaps": "LDAP", "s3": "S3", "file": "a file", "odbc": "ODBC",
}

// opaque are prefixes of strings that are told by what stands before the first colon.
var opaque = []struct {
	prefix string
	err    *Error
}{
	{"jdbc:postgresql:", unsupportedDialect("JDBC")},
	{"jdbc:", otherDatabase("another JDBC driver")},
	{"pgsql:", unsupportedDialect("PDO")},
	{"socket:", unsupportedDialect("node-postgres")},
	{"ecto:", unsupportedDialect("Ecto")},
	{"sqlite:", otherDatabase("SQLite")},
	{"file:", otherDatabase("SQLite")},
	{"mysql:", otherDatabase("MySQL")},
	{"sqlsrv:", otherDatabase("SQL Server")},
	{"postgres:", fault(CodeSyntax, "scheme", 0, "two slashes must follow the colon", shapeURI)},
	{"postgresql:", fault(CodeSyntax, "scheme", 0, "two slashes must follow the colon", shapeURI)},
}

// refuseOpaque recognises strings whose scheme is followed by something else than two slashes.
func refuseOpaque(s string) *Error {
	for _, o := range opaque {
		if len(s) >= len(o.prefix) && strings.EqualFold(s[:len(o.prefix)], o.prefix) {
			err := *o.err // a copy: the caller may change its error
			return &err
		}
	}
	return nil
}

// adoNetKeys start a string of Npgsql or another ADO.NET driver.
var adoNetKeys = map[string]bool{
	"host": true, "server": true, "port": true, "database": true, "db": true, "username": true, "user name": true,
	"userid": true, "user id": true, "uid": true, "password": true, "pwd": true, "psw": true, "ssl mode": true,
	"sslmode": true, "pooling": true, "timeout": true, "application name": true, "search path": true,
	"command timeout": true, "trust server certificate": true, "data source": true, "driver": true,
}

// adoNet reports whether s is a list of "Key=Value;" whose first two keys are ADO.NET's. One such key is not enough:
// in libpq's form a password may hold ";".
func adoNet(s string) bool {
	first, rest, found := strings.Cut(s, ";")
	if !found || !adoNetPair(first) {
		return false
	}
	second, _, _ := strings.Cut(rest, ";")
	return strings.Trim(second, " ") == "" || adoNetPair(second)
}

// adoNetPair reports whether pair is one "Key=Value" of ADO.NET. A second "=" would make it libpq's form, in which the
// first ";" is part of a value.
func adoNetPair(pair string) bool {
	key, value, found := strings.Cut(pair, "=")
	return found && adoNetKeys[strings.ToLower(strings.Trim(key, " "))] && !strings.Contains(value, "=")
}
