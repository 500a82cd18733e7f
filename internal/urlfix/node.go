package urlfix

// nodeURI is what node-postgres reads: pg-connection-string/index.js and pg/lib/connection-parameters.js.
var nodeURI = dialect{name: "node", read: parseWeb, tool: &nodeTool, query: queryForm}

var nodeTool = tool{name: "node-postgres", rules: table()}

// nodeSocket is node-postgres' form for a socket directory.
var nodeSocket = dialect{name: "node", read: parseNodeSocket, tool: &nodeTool, query: queryForm}

func parseNodeSocket(d *DSN, s string, base int, rules *dialect) *Error {
	return fault(CodeUnsupported, "scheme", 0, "this form of node-postgres is not supported", shapeURI)
}
