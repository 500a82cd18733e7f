package urlfix

// jdbc is the JDBC driver's form: org/postgresql/Driver.java (parseURL) of pgjdbc.
var jdbc = dialect{name: "jdbc", read: parseJDBC, tool: &jdbcTool, query: queryForm, queryWins: true}

var jdbcTool = tool{name: "JDBC", rules: table(
	&rule{name: "currentSchema", use: useSetting, to: "search_path", check: notEmpty},
)}

func parseJDBC(d *DSN, s string, base int, rules *dialect) *Error {
	return fault(CodeUnsupported, "scheme", 0, "strings of JDBC are not supported yet", shapeBoth)
}
