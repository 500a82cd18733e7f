package urlfix

import (
	"strings"
	"unicode/utf8"
)

// unreserved reports whether c stands for itself in every part of a URI (RFC 3986, 2.3).
func unreserved(c byte) bool {
	return letterOrDigit(c) || c == '-' || c == '_' || c == '.' || c == '~'
}

func letterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// hostNameChar reports whether c may be in a host name. The underscore may not by RFC 952, but
// Docker's do.
func hostNameChar(c byte) bool {
	return letterOrDigit(c) || c == '-' || c == '_' || c == '.'
}

func control(c byte) bool { return c < 0x20 || c == 0x7f }

// class names the kind of a character that is in no host name for an error text, which may say no
// more about it.
func class(c byte) string {
	switch {
	case c == ' ':
		return "a blank"
	case c >= 0x80:
		return "a non-ASCII character"
	}
	return "a punctuation character"
}

// nibble returns the value of a hexadecimal digit, or 16.
func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

// escapeAt reports whether s[i:] starts with "%" and two hexadecimal digits.
func escapeAt(s string, i int) bool {
	return i+2 < len(s) && s[i] == '%' && nibble(s[i+1]) < 16 && nibble(s[i+2]) < 16
}

// hasEscape reports whether s holds a valid percent-escape.
func hasEscape(s string) bool {
	for i := range len(s) {
		if escapeAt(s, i) {
			return true
		}
	}
	return false
}

// decode percent-decodes s as conninfo_uri_decode (fe-connect.c) of libpq 18 does, except that
// blanks at the edges are refused like those inside: versions of libpq differ on them. "+" stands
// for itself. When s is invalid, at is the offset of the fault in s and reason says what it is.
func decode(s string) (text string, at int, reason string) {
	if i := strings.IndexByte(s, ' '); i >= 0 {
		return "", i, "a blank must be written as %20"
	}
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s, 0, "" // the string as a whole is UTF-8, and cut at ASCII characters
	}
	b := make([]byte, 0, len(s))
	b = append(b, s[:i]...)
	for ; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if !escapeAt(s, i) {
			return "", i, "a percent sign is not followed by two hexadecimal digits"
		}
		c := nibble(s[i+1])<<4 | nibble(s[i+2])
		if c == 0 {
			return "", i, "the NUL character is not allowed, escaped or not"
		}
		b = append(b, c)
		i += 2
	}
	if !utf8.Valid(b) {
		return "", 0, "the percent-escapes do not decode to UTF-8"
	}
	return string(b), 0, ""
}

// decodeLenient decodes as Python's urllib.parse.unquote does: a percent sign that starts no escape
// stands for itself. With plus, "+" is a blank (unquote_plus). It fails where Python would
// substitute a character.
func decodeLenient(s string, plus bool) (text string, ok bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+' && plus:
			b = append(b, ' ')
		case escapeAt(s, i):
			c := nibble(s[i+1])<<4 | nibble(s[i+2])
			if c == 0 {
				return "", false
			}
			b = append(b, c)
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b), utf8.Valid(b)
}

// appendEscaped percent-encodes what is neither unreserved nor in also.
func appendEscaped(b []byte, s, also string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if unreserved(c) || strings.IndexByte(also, c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
