package urlfix

// railsURI is what Rails reads.
var railsURI = dialect{name: "rails", read: parseWeb, tool: &railsTool, query: queryForm}

var railsTool = tool{name: "Rails", rules: table()}
