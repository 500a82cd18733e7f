package urlfix

// asyncpgURI is what asyncpg reads: connect_utils.py.
var asyncpgURI = dialect{name: "asyncpg", read: parseWeb, tool: &asyncpgTool, query: queryForm}

var asyncpgTool = tool{name: "asyncpg", rules: table()}
