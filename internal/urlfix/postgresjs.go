package urlfix

// postgresjsURI is what postgres.js reads.
var postgresjsURI = dialect{name: "postgresjs", read: parseWeb, tool: &postgresjsTool, query: queryForm}

var postgresjsTool = tool{name: "postgres.js", rules: table()}
