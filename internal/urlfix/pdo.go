package urlfix

// pdo is PHP's form.
var pdo = dialect{name: "pdo", read: parsePDO, tool: &pdoTool}

var pdoTool = tool{name: "PDO", rules: table()}

func parsePDO(d *DSN, s string, base int, rules *dialect) *Error {
	return fault(CodeUnsupported, "scheme", 0, "strings of PDO are not supported yet", shapeBoth)
}
