package urlfix

import "strings"

// whiteSpace reports whether c is white space to libpq (isspace in the C locale) and .NET.
func whiteSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// plainBlanks makes blanks of the white space between the parameters of a string that is no URI.
// Files and environment variables have each parameter on a line. White space inside a value, quoted
// or after a backslash, stays, and is refused with the other control characters. Offsets stay too.
func plainBlanks(s string) string {
	if !strings.ContainsAny(s, "\t\n\v\f\r") || strings.IndexByte(s, '=') < 0 || strings.Contains(s, "://") {
		return s
	}
	blank := strings.NewReplacer("\t", " ", "\n", " ", "\v", " ", "\f", " ", "\r", " ").Replace(s)
	for _, o := range opaque {
		if o.rules != &pdo && len(s) >= len(o.prefix) && strings.EqualFold(s[:len(o.prefix)], o.prefix) {
			return s
		}
	}
	b := []byte(s)
	endOf := endOfKeyword
	if adoNet(blank) {
		endOf = endOfADOValue
	}
	for pos := 0; pos < len(b); {
		for pos < len(b) && b[pos] != '=' {
			pos = blankAt(b, pos)
		}
		for pos++; pos < len(b) && whiteSpace(b[pos]); {
			pos = blankAt(b, pos)
		}
		pos = endOf(b, pos)
	}
	return string(b)
}

// blankAt makes a blank of white space at pos, and returns the offset after it.
func blankAt(b []byte, pos int) int {
	if whiteSpace(b[pos]) {
		b[pos] = ' '
	}
	return pos + 1
}

// endOfKeyword returns the offset after a value of libpq's form.
func endOfKeyword(b []byte, pos int) int {
	if pos < len(b) && b[pos] == '\'' {
		for pos++; pos < len(b) && b[pos] != '\''; pos++ {
			if b[pos] == '\\' {
				pos++
			}
		}
		return pos + 1
	}
	for ; pos < len(b) && !whiteSpace(b[pos]); pos++ {
		if b[pos] == '\\' {
			pos++
		}
	}
	return pos
}

// endOfADOValue returns the offset after a value of ADO.NET's form. White space at its end is no
// part of it.
func endOfADOValue(b []byte, pos int) int {
	if pos < len(b) && (b[pos] == '"' || b[pos] == '\'') {
		quote := b[pos]
		for pos++; pos < len(b); pos++ {
			if b[pos] != quote {
				continue
			}
			if pos+1 == len(b) || b[pos+1] != quote {
				return pos + 1
			}
			pos++
		}
		return pos
	}
	start := pos
	for pos < len(b) && b[pos] != ';' {
		pos++
	}
	for i := pos; i > start && whiteSpace(b[i-1]); i-- {
		b[i-1] = ' '
	}
	return pos
}
