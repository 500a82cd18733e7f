package urlfix

// ectoURI is what Ecto reads.
var ectoURI = dialect{name: "ecto", read: parseWeb, tool: &ectoTool, query: queryForm}

var ectoTool = tool{name: "Ecto", rules: table()}
