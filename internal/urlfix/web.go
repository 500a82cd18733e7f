package urlfix

import "strings"

// parseWeb reads a URI as the URL libraries of most languages do, by RFC 3986 or the WHATWG's URL standard: the
// authority ends at the first "/", "?" or "#", and the last "@" in it ends the userinfo. Where that gives no server,
// the tool would fail, and the string is read like a plain one with raw characters.
func parseWeb(d *DSN, s string, base int, rules *dialect) *Error {
	if s[len(s)-1] == ' ' {
		return endsWithBlank(s)
	}
	d.Dialect = rules.name
	end := base + indexAny(s[base:], "/?#")
	at := noUserinfo
	if i := strings.LastIndexByte(s[base:end], '@'); i >= 0 {
		at = base + i
	}
	from := base
	if at != noUserinfo {
		from = at + 1
	}
	var p parts
	if err := readAuthority(&p, s, from, end); err != nil {
		return parseRecovered(d, s, base, rules, noUserinfo, err)
	}
	p = parts{}
	if i := strings.IndexByte(s[end:], '#'); i >= 0 {
		return fault(CodeSyntax, "string", end+i, `it holds a raw "#", which starts a fragment`, encodeHint)
	}
	if err := readRest(&p, s, from, rules); err != nil {
		return err
	}
	if at != noUserinfo {
		if credentialsPerHost(s[base:end]) {
			return fault(CodeAmbiguous, "hosts", base,
				"it may hold a user and password for each host, which libpq does not have", encodeHint)
		}
		if err := readUnquoted(&p, s, base, at); err != nil {
			return err
		}
	}
	return build(d, rules, &p)
}

// indexAny is strings.IndexAny, or the length of s if there is none of chars.
func indexAny(s, chars string) int {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return i
	}
	return len(s)
}
