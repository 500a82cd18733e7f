package urlfix

// npgsql is the ADO.NET form of Npgsql.
var npgsql = dialect{name: "npgsql", read: parseNpgsql, tool: &npgsqlTool}

var npgsqlTool = tool{name: "Npgsql", rules: table()}

func parseNpgsql(d *DSN, s string, base int, rules *dialect) *Error {
	return fault(CodeUnsupported, "scheme", 0, "strings of Npgsql are not supported yet", shapeBoth)
}
