package urlfix

// The dialects of other Go tools. pgx reads libpq's forms, see libpqURI.

// libpqGoURI and libpqGoKeyword are what lib/pq reads: connector.go and conn.go.
var (
	libpqGoURI     = dialect{name: "libpq-go", read: parseURI, tool: &libpqGoTool, settings: true}
	libpqGoKeyword = dialect{name: "libpq-go", read: parseKeywordValue, tool: &libpqGoTool, settings: true}
)

var libpqGoTool = tool{name: "lib/pq", rules: table()}

// migrateURI is what golang-migrate reads.
var migrateURI = dialect{name: "golang-migrate", answers: []string{"pgx"}, read: parseWeb, tool: &migrateTool, query: queryForm, settings: true}

var migrateTool = tool{name: "golang-migrate", rules: table()}

// dburlUnix is dburl's form for a socket directory.
var dburlUnix = dialect{name: "dburl", read: parseDburlUnix, tool: &libpqGoTool, settings: true}

func parseDburlUnix(d *DSN, s string, base int, rules *dialect) *Error {
	return fault(CodeUnsupported, "scheme", 0, "this form of dburl is not supported", shapeURI)
}
