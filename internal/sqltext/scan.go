package sqltext

import "strings"

// kind is what a lexeme is to this package.
type kind uint8

const (
	blank   kind = iota // white space, a comment
	word                // a keyword or a name
	quoted              // a name in double quotes
	literal             // a string, a number, or what might be one
	param               // $1
	symbol              // operators and punctuation
)

// A reading is how backslashes in plain strings are read. The server's standard_conforming_strings
// chooses.
type reading uint8

const (
	standard reading = iota // a backslash is a backslash
	escaping                // it escapes what follows, as in E'...'
)

// lexeme is the shortest piece that PostgreSQL's lexer cuts off (scan.l).
type lexeme struct {
	end  int
	kind kind
	open bool // the text ended before its closing mark
}

// lex returns the lexeme at s[i].
func (r reading) lex(s string, i int) lexeme {
	switch c := s[i]; {
	case c <= ' ' || c == 0x7f:
		return lexeme{end: i + 1, kind: blank}
	case strings.HasPrefix(s[i:], "--"):
		return lexeme{end: lineEnd(s, i), kind: blank}
	case strings.HasPrefix(s[i:], "/*"):
		return comment(s, i+2)
	case c == '\'':
		return r.text(s, i+1)
	case c == '"':
		return name(s, i+1)
	case c == '$':
		return dollar(s, i)
	case digit(c), c == '.' && i+1 < len(s) && digit(s[i+1]):
		return number(s, i)
	case wordStart(c):
		return r.word(s, i)
	}
	return lexeme{end: i + 1, kind: symbol}
}

// lineEnd is where the comment at s[i] ends. A carriage return ends it too (scan.l, non_newline).
func lineEnd(s string, i int) int {
	if n := strings.IndexAny(s[i:], "\n\r"); n >= 0 {
		return i + n
	}
	return len(s)
}

// comment reads a block comment, whose content begins at s[i]. Comments nest (scan.l, xcdepth).
func comment(s string, i int) lexeme {
	for depth := 1; i+1 < len(s); {
		switch s[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
			if depth == 0 {
				return lexeme{end: i, kind: blank}
			}
		default:
			i++
		}
	}
	return lexeme{end: len(s), kind: blank, open: true}
}

// text reads a string, whose content begins at s[i].
func (r reading) text(s string, i int) lexeme {
	for i < len(s) {
		switch {
		case s[i] == '\\' && r == escaping:
			i += 2
		case s[i] != '\'':
			i++
		case i+1 < len(s) && s[i+1] == '\'':
			i += 2
		default:
			next, more := continued(s, i+1)
			if !more {
				return lexeme{end: i + 1, kind: literal}
			}
			i = next
		}
	}
	return lexeme{end: len(s), kind: literal, open: true}
}

// continued finds the rest of a string whose first part ended before s[i]: one that begins on a
// later line, with nothing but blanks and "--" comments between, goes on with the same rules
// (scan.l, quotecontinue).
func continued(s string, i int) (content int, more bool) {
	newline := false
	for i < len(s) {
		switch {
		case s[i] == '\n' || s[i] == '\r':
			newline = true
			i++
		case s[i] == ' ' || s[i] == '\t' || s[i] == '\f' || s[i] == '\v':
			i++
		case strings.HasPrefix(s[i:], "--"):
			i = lineEnd(s, i)
		default:
			return i + 1, newline && s[i] == '\''
		}
	}
	return i, false
}

// name reads a name in double quotes, whose content begins at s[i]. A name that is not closed names
// nothing.
func name(s string, i int) lexeme {
	for i < len(s) {
		switch {
		case s[i] != '"':
			i++
		case i+1 < len(s) && s[i+1] == '"':
			i += 2
		default:
			return lexeme{end: i + 1, kind: quoted}
		}
	}
	return lexeme{end: len(s), kind: literal, open: true}
}

// dollar reads what a dollar sign at s[i] begins: a parameter, a dollar-quoted string, or nothing
// that PostgreSQL knows, which is then masked with the word it touches.
func dollar(s string, i int) lexeme {
	end := i + 1
	if end < len(s) && digit(s[end]) {
		for end < len(s) && digit(s[end]) {
			end++
		}
		return lexeme{end: end, kind: param}
	}
	for end < len(s) && wordPart(s[end]) && s[end] != '$' {
		end++
	}
	if end == len(s) || s[end] != '$' {
		return lexeme{end: end, kind: literal}
	}
	tag := s[i : end+1]
	n := strings.Index(s[end+1:], tag)
	if n < 0 {
		return lexeme{end: len(s), kind: literal, open: true}
	}
	return lexeme{end: end + 1 + n + len(tag), kind: literal}
}

// number reads a number and all that touches it: before PostgreSQL 15 "123abc" was two tokens, and
// before 16 so were 0x1F and 1_000.
func number(s string, i int) lexeme {
	end := i + 1
	for end < len(s) && (wordPart(s[end]) || s[end] == '.' || exponentSign(s, end)) {
		end++
	}
	return lexeme{end: end, kind: literal}
}

func exponentSign(s string, i int) bool {
	return (s[i] == '+' || s[i] == '-') && s[i-1]|0x20 == 'e' && i+1 < len(s) && digit(s[i+1])
}

// word reads a word, or what a letter before a quote makes of it.
func (r reading) word(s string, i int) lexeme {
	if rest := s[i:]; len(rest) > 1 && rest[1] == '\'' {
		switch rest[0] {
		case 'e', 'E':
			return escaping.text(s, i+2)
		case 'n', 'N':
			return r.text(s, i+2)
		case 'b', 'B', 'x', 'X':
			return standard.text(s, i+2)
		}
	} else if len(rest) > 2 && rest[0]|0x20 == 'u' && rest[1] == '&' {
		switch rest[2] {
		case '\'':
			return standard.text(s, i+3)
		case '"':
			return name(s, i+3)
		}
	}
	end := i + 1
	for end < len(s) && wordPart(s[end]) {
		end++
	}
	return lexeme{end: end, kind: word}
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// wordStart is scan.l's ident_start: every byte of a character that is not ASCII counts as a
// letter.
func wordStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

// wordPart is scan.l's ident_cont.
func wordPart(c byte) bool { return wordStart(c) || digit(c) || c == '$' }
