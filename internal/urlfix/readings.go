package urlfix

import "strings"

// A reading is one way to cut a URI into userinfo, authority, path and query. It is an offset only:
// the "@" that ends the userinfo, or -1 for none. Everything else follows from it.
//
// Reading A is libpq's: the first "@", if no "/" stands before it. Reading B follows RFC 3986: the
// authority ends at the first "/", "?" or "#", and the last "@" in it ends the userinfo. A reading
// is tight if nothing in it looks like a piece of password: hosts are hosts, ports are numbers,
// keys are known, escapes are valid.
const noUserinfo = -1

// parseURI takes reading A if it is tight and B is no other tight one. Otherwise it looks for the
// one reading that is.
func parseURI(d *DSN, s string, base int, rules *dialect) *Error {
	if s[len(s)-1] == ' ' && strings.IndexByte(s, '?') < 0 {
		return endsWithBlank(s)
	}
	d.Dialect = rules.name
	a := readingA(s, base)
	p, err := readTight(s, base, a, rules)
	if err != nil {
		return parseRecovered(d, s, base, rules, a, err)
	}
	if readingBDiffers(s, base, a, rules) {
		return fault(CodeAmbiguous, "string", a,
			`it names one server if the "@" ends the password, and another one if it is part of the query`, encodeHint)
	}
	if strings.IndexByte(s, ' ') >= 0 {
		d.change("query", "blanks around names and values were left out, as libpq 18 does")
	}
	return build(d, rules, &p)
}

func endsWithBlank(s string) *Error {
	return fault(CodeSyntax, "string", len(s)-1, "it ends with a blank", "trim the string before use")
}

// readingA finds the "@" that libpq takes for the end of the userinfo (conninfo_uri_parse_options).
func readingA(s string, base int) int {
	for i := base; i < len(s); i++ {
		switch s[i] {
		case '@':
			return i
		case '/':
			return noUserinfo
		}
	}
	return noUserinfo
}

// readingBDiffers reports whether reading B is tight and not the tight reading A. They can differ
// only by a "?" or "#" before the "@".
func readingBDiffers(s string, base, a int, rules *dialect) bool {
	if a == noUserinfo {
		return false
	}
	end := strings.IndexAny(s[base:a], "?#")
	if end < 0 {
		return false
	}
	end += base
	var p parts
	if readAuthority(&p, s, base, end) != nil {
		return false
	}
	return s[end] == '#' || readQuery(&p, s, end+1, rules) == nil
}

// readTight reads the whole string in the reading at. The error says what is not tight in it.
func readTight(s string, base, at int, rules *dialect) (p parts, err *Error) {
	if at != noUserinfo {
		if err = readUserinfo(&p, s, base, at); err != nil {
			return p, err
		}
		base = at + 1
	}
	return p, readRest(&p, s, base, rules)
}

// readRest reads authority, path and query from offset from on.
func readRest(p *parts, s string, from int, rules *dialect) *Error {
	end := authorityEnd(s, from)
	if err := readAuthority(p, s, from, end); err != nil {
		return err
	}
	if end < len(s) && s[end] == '/' {
		from = end + 1
		end = len(s)
		if i := strings.IndexByte(s[from:], '?'); i >= 0 {
			end = from + i
		}
		if err := readPath(p, s, from, end); err != nil {
			return err
		}
	}
	if end < len(s) && strings.Count(s[end:], "&") >= maxParams {
		return tooManyParams()
	}
	if rules.query == queryLibpq {
		return readQuery(p, s, end+1, rules)
	}
	return readForm(p, s, end+1, rules)
}

// authorityEnd finds the end of the hosts. Only "/" and "?" end them: "#" means nothing to libpq.
func authorityEnd(s string, from int) int {
	for i := from; i < len(s); i++ {
		if s[i] == '/' || s[i] == '?' {
			return i
		}
	}
	return len(s)
}

// parseRecovered reads a string whose reading A is not tight, for the reason given. If exactly one
// "@" is followed by a tight authority, or only the string without userinfo starts with one, that
// is the reading, and user and password are taken as they stand. Each "@" is a candidate, wherever
// it stands, so that the end of a password is never taken for the server.
func parseRecovered(d *DSN, s string, base int, rules *dialect, a int, reason *Error) *Error {
	at, count := candidates(s, base)
	switch {
	case s[len(s)-1] == ' ':
		return endsWithBlank(s)
	case count == 0:
		return reason
	case count > 1:
		return fault(CodeAmbiguous, "string", at, severalReadings(s, base), encodeHint)
	case at == noUserinfo:
		p, err := readTight(s, base, at, rules)
		if err != nil {
			return err
		}
		return build(d, rules, &p)
	}
	var p parts
	if err := readRest(&p, s, at+1, rules); err != nil {
		return err
	}
	if holdsQuery(s[base:at], rules) {
		return fault(CodeAmbiguous, "string", at,
			`the "@" may end the password, or be part of the query, with a fault before it`, encodeHint)
	}
	if at == a && !hasBadEscape(s[base:at]) && strings.IndexByte(s[base:at], ' ') < 0 && hasEscape(s[base:at]) {
		reason.Code = CodeAmbiguous // an escape stands for NUL, or they are no UTF-8: or is it meant as it stands?
		return reason
	}
	if at > a && a != noUserinfo && reason.Reason == reasonRawAt && hasEscape(s[base:at]) {
		return fault(CodeAmbiguous, "string", a, `the first "@" may end the password, or the last one`, encodeHint)
	}
	if err := readRawUserinfo(&p, s, base, at); err != nil {
		return err
	}
	if a != noUserinfo && at == a+1 {
		return fault(CodeAmbiguous, "host", at,
			`libpq reads "@@" as the start of an abstract socket's name`, encodeHint)
	}
	d.change("password", "taken as it stands: its special characters were not percent-encoded")
	return build(d, rules, &p)
}

// severalReadings says between what the choice is.
func severalReadings(s string, base int) string {
	if strings.Count(s[base:], "@") > 1 {
		return `more than one "@", or none, may end the password`
	}
	return `the "@" may end the password, or be a part of what follows the server`
}

// candidates counts the readings with a tight authority, up to two, and returns the last one found.
// It looks at each byte at most twice: an authority ends at the next "@", and then is not tight.
func candidates(s string, base int) (at, count int) {
	at = noUserinfo
	if tightAuthority(s, base) {
		count++
	}
	for i := base; i < len(s) && count < 2; i++ {
		if s[i] == '@' && tightAuthority(s, i+1) {
			at = i
			count++
		}
	}
	return at, count
}

// tightAuthority is readAuthority without its result, in time linear to the next "@", and without
// an allocation.
func tightAuthority(s string, from int) bool {
	end := from
	for end < len(s) && s[end] != '/' && s[end] != '?' && s[end] != '#' { // "#" for RFC 3986's reading
		if s[end] == '@' {
			return false
		}
		end++
	}
	for authority := s[from:end]; ; {
		element, rest, more := strings.Cut(authority, ",")
		name, port := cutPort(element)
		if _, reason := readHost(name); reason != "" {
			return false
		}
		if _, ok := readPort(port); !ok {
			return false
		}
		if !more {
			return true
		}
		authority = rest
	}
}

// readRawUserinfo takes user and password as they stand, unless that is only one way to take them.
func readRawUserinfo(p *parts, s string, base, at int) *Error {
	raw := s[base:at]
	if hasEscape(raw) {
		return fault(CodeAmbiguous, "password", base,
			"user or password hold both percent-escapes and raw special characters", encodeHint)
	}
	if credentialsPerHost(s[base:authorityEnd(s, at+1)]) {
		return fault(CodeAmbiguous, "hosts", base,
			"it may hold a user and password for each host, which libpq does not have", encodeHint)
	}
	user, password, _ := strings.Cut(raw, ":")
	if strings.Trim(user, " ") != user || strings.Trim(password, " ") != password {
		return fault(CodeAmbiguous, "password", base,
			"blanks are at the edge of user or password, and versions of libpq differ on them", encodeHint)
	}
	if strings.ContainsAny(user, "/?#") {
		return fault(CodeAmbiguous, "user", base,
			"what would be the user may as well be a host that is misspelt, with a database", encodeHint)
	}
	p.user, p.password = user, password
	return nil
}

// holdsQuery reports whether a known parameter stands in what would be user and password. Then the
// whole is more likely a string with a wrong port, say, and what follows the "@" is no server.
func holdsQuery(raw string, rules *dialect) bool {
	_, query, found := strings.Cut(raw, "?")
	if !found {
		return false
	}
	for one := range strings.SplitSeq(query, "&") {
		if key, _, found := strings.Cut(one, "="); found && rules.lookup(key) != nil {
			return true
		}
	}
	return false
}

// credentialsPerHost reports whether two of the elements between commas hold an "@".
func credentialsPerHost(s string) bool {
	count := 0
	for element := range strings.SplitSeq(s, ",") {
		if strings.IndexByte(element, '@') >= 0 {
			count++
		}
	}
	return count > 1
}
