package urlfix

import (
	"slices"
	"strings"
)

// parseKeywordValue reads a libpq keyword/value string (conninfo_parse, fe-connect.c).
func parseKeywordValue(d *DSN, s string, base int, rules *dialect) *Error {
	d.Dialect = rules.name
	var p parts
	for pos := skipBlanks(s, base); pos < len(s); {
		one, next, err := readKeyword(d, s, pos, rules)
		if err != nil {
			return err
		}
		if p.pairs = append(p.pairs, one); len(p.pairs) > maxParams {
			return tooManyParams()
		}
		pos = skipBlanks(s, next)
	}
	return build(d, rules, &p)
}

// hasKeywordForm reports whether s can be read to its end as libpq's keywords and values.
func hasKeywordForm(s string) bool {
	var warned DSN
	for pos := skipBlanks(s, 0); pos < len(s); pos = skipBlanks(s, pos) {
		var err *Error
		if _, pos, err = readKeyword(&warned, s, pos, &libpqKeyword); err != nil {
			return false
		}
	}
	return true
}

// skipBlanks skips the only white space there is: control characters were refused before.
func skipBlanks(s string, pos int) int {
	for pos < len(s) && s[pos] == ' ' {
		pos++
	}
	return pos
}

// readKeyword reads "keyword = value" at pos and returns the offset after it.
func readKeyword(d *DSN, s string, pos int, rules *dialect) (pair, int, *Error) {
	end := pos
	for end < len(s) && s[end] != '=' && s[end] != ' ' {
		end++
	}
	key := s[pos:end]
	if end = skipBlanks(s, end); end == len(s) || s[end] != '=' {
		return pair{}, 0, fault(CodeSyntax, "keyword", pos, `no "=" follows it`,
			"put a value that holds blanks in single quotes: "+shapeKeyword)
	}
	r := rules.lookup(key)
	if r == nil {
		return pair{}, 0, unknownKeyword(key, pos)
	}
	start := skipBlanks(s, end+1)
	if start < len(s) && s[start] == '\'' {
		value, next, closed := readQuoted(s, start+1)
		if !closed {
			return pair{}, 0, fault(CodeSyntax, r.name, start, "the closing quote is missing", quoteHint)
		}
		return pair{key, value, pos}, next, nil
	}
	value, next := readUnquotedValue(s, start)
	if err := checkUnquoted(d, s[start:next], r, start, rules); err != nil {
		return pair{}, 0, err
	}
	return pair{key, value, pos}, next, nil
}

// readQuoted reads to the closing quote. A backslash takes the next character as it is.
func readQuoted(s string, pos int) (value string, next int, closed bool) {
	var b strings.Builder
	for ; pos < len(s); pos++ {
		switch s[pos] {
		case '\'':
			return b.String(), pos + 1, true
		case '\\':
			if pos++; pos == len(s) {
				return "", pos, false
			}
		}
		b.WriteByte(s[pos])
	}
	return "", pos, false
}

// readUnquotedValue reads to the next blank that no backslash stands before.
func readUnquotedValue(s string, pos int) (value string, next int) {
	var b strings.Builder
	for ; pos < len(s) && s[pos] != ' '; pos++ {
		if s[pos] == '\\' {
			if pos++; pos == len(s) {
				break // libpq drops a backslash at the very end
			}
		}
		b.WriteByte(s[pos])
	}
	return b.String(), pos
}

// startsParameter reports whether text starts with a known keyword and "=".
func startsParameter(text string, rules *dialect) bool {
	key, _, found := strings.Cut(text, "=")
	return found && rules.lookup(key) != nil
}

// checkUnquoted refuses what libpq reads in an unexpected way.
func checkUnquoted(d *DSN, raw string, r *rule, pos int, rules *dialect) *Error {
	if startsParameter(raw, rules) {
		return fault(CodeAmbiguous, r.name, pos,
			"its value looks like the next parameter; an empty value swallows what follows it",
			"write '' for an empty value, or "+quoteHint)
	}
	if _, rest, found := strings.Cut(raw, ";"); found &&
		slices.ContainsFunc(strings.Split(rest, ";"), func(piece string) bool {
			return startsParameter(piece, rules)
		}) {
		return fault(CodeAmbiguous, r.name, pos, "a semicolon and another parameter are in its value",
			"separate parameters by blanks, or "+quoteHint)
	}
	if slices.ContainsFunc(strings.Split(raw, " ")[1:], func(piece string) bool { return startsParameter(piece, rules) }) {
		return fault(CodeAmbiguous, r.name, pos, "a backslash before a blank makes the next parameter a part of its value",
			quoteHint)
	}
	if strings.HasSuffix(raw, ",") && r.use != usePassword && r.use != useSSLPassword {
		return fault(CodeSyntax, r.name, pos+len(raw)-1, "a comma follows its value",
			"separate parameters by blanks: "+shapeKeyword)
	}
	if strings.IndexByte(raw, '\\') >= 0 {
		d.warn(r.name, `a backslash in an unquoted value is an escape character; write \\ for the backslash itself`)
	}
	return nil
}
