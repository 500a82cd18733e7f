package urlfix

import "strings"

// pdo is PHP's form: pdo_pgsql_handle_factory in ext/pdo_pgsql/pgsql_driver.c of php-src. It hands
// libpq what follows "pgsql:", with a blank in place of every semicolon.
var pdo = dialect{name: "pdo", read: parsePDO, tool: &pdoTool}

var pdoTool = tool{name: "PDO", rules: table(
	&rule{name: "charset", to: "client_encoding", check: checkCharset,
		hint: "write client_encoding=UTF8, or leave it out"},
	&rule{name: "ssl", use: useRefuse, hint: "write sslmode=require or sslmode=verify-full"},
)}

// checkCharset takes MySQL's key, on which libpq fails, if it asks for what there is anyway.
func checkCharset(value string) (string, string) {
	_, reason := checkEncoding(value)
	return "UTF8", reason
}

// parsePDO reads libpq's form with blanks for semicolons. PDO would replace a semicolon in a quoted
// value too, so such a value is refused.
func parsePDO(d *DSN, s string, base int, rules *dialect) *Error {
	d.Dialect = rules.name
	text := s[:base] + strings.ReplaceAll(s[base:], ";", " ")
	var p parts
	for pos := skipBlanks(text, base); pos < len(text); {
		one, next, err := readKeyword(d, text, pos, rules)
		if err != nil {
			return err
		}
		if i := strings.IndexByte(s[pos:next], ';'); i >= 0 {
			return fault(CodeAmbiguous, rules.lookup(one.key).name, pos+i,
				"a semicolon is in it, in whose place PDO gives libpq a blank", "write the string in libpq's form: "+shapeKeyword)
		}
		p.pairs = append(p.pairs, one)
		pos = skipBlanks(text, next)
	}
	return build(d, rules, &p)
}
