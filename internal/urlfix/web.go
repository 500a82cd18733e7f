package urlfix

import (
	"slices"
	"strings"
)

// webForm is where the tools that read a URI with their language's URL library differ from each
// other.
type webForm struct {
	// path decodes the name of the database.
	path func(raw string) (text string, ok bool)
	// settle looks at what stands in two places, before the parameters get their meaning. It may be
	// nil.
	settle func(d *DSN, p *parts) *Error
	// query reads the parameters, nil for readWebQuery.
	query func(d *DSN, p *parts, s string, pos int, rules *dialect) *Error
}

// parseWeb reads a URI as the URL libraries of most languages do, by RFC 3986 or the WHATWG's URL
// standard: the authority ends at the first "/", "?" or "#", and the last "@" in it ends the
// userinfo. Where that gives no server, the tool would fail, and the string is read like a plain
// one with raw characters.
func parseWeb(d *DSN, s string, base int, rules *dialect) *Error {
	return parseWebForm(d, s, base, rules, webForm{path: unquote})
}

// unquote is urllib.parse.unquote of Python, and what others do: a bad escape stands for itself.
func unquote(raw string) (text string, ok bool) { return decodeLenient(raw, false) }

// parseWebForm is parseWeb in the form that one tool has.
func parseWebForm(d *DSN, s string, base int, rules *dialect, form webForm) *Error {
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
	if i := strings.IndexByte(s[end:], '#'); i >= 0 {
		return fault(CodeSyntax, "fragment", end+i, `a raw "#" starts one, and connection strings have none`,
			"leave it out, or write # as %23 in a password or a value")
	}
	if at == noUserinfo {
		if err := checkHidden(s, base, end); err != nil {
			return err
		}
	} else {
		if credentialsPerHost(s[base:end]) {
			return fault(CodeAmbiguous, "hosts", base,
				"it may hold a user and password for each host, which libpq does not have", encodeHint)
		}
		if err := readUnquoted(&p, s, base, at); err != nil {
			return err
		}
	}
	if err := readWebRest(d, &p, s, end, rules, form); err != nil {
		return err
	}
	if err := checkRepeated(p.pairs, rules); err != nil {
		return err
	}
	if form.settle != nil {
		if err := form.settle(d, &p); err != nil {
			return err
		}
	}
	return build(d, rules, &p)
}

// checkHidden refuses "a:b?" before a server that comes later: it may be a user and the start of a
// password.
func checkHidden(s string, base, end int) *Error {
	if end == len(s) || s[end] != '?' || strings.IndexByte(s[base:end], ':') < 0 {
		return nil
	}
	if _, count := candidates(s, base); count <= 1 {
		return nil
	}
	return fault(CodeAmbiguous, "string", base, `a host with a port, or user and password, may be before the "?"`,
		encodeHint)
}

// parseWebOnce is parseWebForm for tools that fail on a second "@" in the authority, or misread it.
func parseWebOnce(d *DSN, s string, base int, rules *dialect, form webForm) *Error {
	authority := s[base : base+indexAny(s[base:], "/?#")]
	if first := strings.IndexByte(authority, '@'); first != strings.LastIndexByte(authority, '@') {
		d.Dialect = rules.name
		reason := fault(CodeSyntax, "string", base+first, `more than one "@" is before the path`, encodeHint)
		return parseRecovered(d, s, base, rules, noUserinfo, reason)
	}
	return parseWebForm(d, s, base, rules, form)
}

// readWebRest reads path and query from offset pos on.
func readWebRest(d *DSN, p *parts, s string, pos int, rules *dialect, form webForm) *Error {
	if pos < len(s) && s[pos] == '/' {
		end := pos + indexAny(s[pos:], "?")
		if i := strings.IndexByte(s[pos:end], '@'); i >= 0 {
			return fault(CodeSyntax, "database", pos+i, `it holds a raw "@"`, encodeHint+"; in a database name, write %40")
		}
		var ok bool
		if p.database, ok = form.path(s[pos+1 : end]); !ok {
			return fault(CodeValue, "database", pos, "the percent-escapes do not decode to UTF-8", encodeHint)
		}
		pos = end
	}
	if form.query != nil {
		return form.query(d, p, s, pos+1, rules)
	}
	return readWebQuery(p, s, pos+1, rules)
}

// readWebQuery reads the parameters from offset pos on. Empty ones are skipped; of several values
// of one key, the last one counts when they get their meaning.
func readWebQuery(p *parts, s string, pos int, rules *dialect) *Error {
	for pos < len(s) {
		end := pos + indexAny(s[pos:], "&")
		if end > pos {
			one, err := readUnquotedPair(s[pos:end], pos, rules)
			if err != nil {
				return err
			}
			if p.pairs = append(p.pairs, one); len(p.pairs) > maxParams {
				return tooManyParams()
			}
		}
		pos = end + 1
	}
	return nil
}

// pathWins leaves out a database in the query, if there is one before it.
func pathWins(d *DSN, p *parts) {
	if p.database == "" {
		return
	}
	p.pairs = slices.DeleteFunc(p.pairs, func(one pair) bool {
		if one.key != "database" && one.key != "dbname" && one.key != "db" {
			return false
		}
		if one.value != p.database {
			d.warn(one.key, "left out: the database before the query counts")
		}
		return true
	})
}

// indexAny is strings.IndexAny, or the length of s if there is none of chars.
func indexAny(s, chars string) int {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return i
	}
	return len(s)
}
