package urlfix

import (
	"maps"
	"slices"
)

// Row is a rule of a tool's table, for the guide.
type Row struct{ Parameter, Becomes string }

// Rows tells the rules of the tool whose dialect has the name, in alphabetical order.
func Rows(dialect string) []Row {
	tools := map[string]*tool{
		"asyncpg": &asyncpgTool, "django": &djangoTool, "doctrine": &symfonyTool, "ecto": &ectoTool,
		"golang-migrate": &migrateTool, "jdbc": &jdbcTool, "libpq-go": &libpqGoTool, "node": &nodeTool,
		"npgsql": &npgsqlTool, "pdo": &pdoTool, "postgresjs": &postgresjsTool, "prisma": &prismaTool,
		"rails": &railsTool, "sqlalchemy+asyncpg": &saAsyncpgTool, "sqlalchemy+psycopg2": &psycopgTool,
	}
	rules := keywords
	if dialect != "libpq" {
		rules = tools[dialect].rules
	}
	var rows []Row
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		r := rules[name]
		if dialect == "npgsql" && npgsqlKey(r.name) == name {
			name = r.name // as it is usually written
		}
		rows = append(rows, Row{name, r.becomes()})
	}
	return rows
}

// becomes says in words what the rule does.
func (r *rule) becomes() string {
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
	case useSSLPassword:
		return "`sslpassword`"
	case useSSL:
		return "`sslmode`"
	case useFallbackName:
		return "`application_name`, if there is none"
	case useSetting:
		return "server setting `" + r.target() + "`"
	case useLater:
		return "see the examples"
	case useIgnore:
		if r.warn != "" {
			return r.warn
		}
		return "left out: it has no effect"
	case useRefuse:
		return "refused: " + r.hint
	}
	return "`" + r.target() + "`"
}
