package sqltext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// readable returns the part of a text that is read, and whether that is all of it.
func readable(sql string) (text string, whole bool) {
	text = sql[:min(len(sql), maxRead)]
	if i := strings.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	return text, len(text) == len(sql)
}

// How plain separates two lexemes: as the text does, by a blank, or by a mark that stands for
// nothing.
const (
	gap   = ' '
	touch = '\t'
)

// plain rewrites a text so that go-sqllexer reads it as PostgreSQL reads the original: each literal
// is an empty string, there are no comments, and lexemes are kept apart by gap or touch. Of a text
// that is not whole, a last word is left out, because it may be half of one.
func plain(text string, whole bool) string {
	var out strings.Builder
	out.Grow(len(text) + len(text)/2)
	s := newShield(text, whole)
	before := lexeme{kind: blank}
	for i := 0; i < len(text); i = before.end {
		l := s.lex(i)
		half := l.end == len(text) && !whole && l.kind != literal && l.kind != symbol
		switch {
		case l.kind == blank || half:
		case before.kind == blank:
			out.WriteByte(gap)
			out.WriteString(rewritten(l, text[i:l.end]))
		case before.kind == literal && l.kind == literal: // one is enough
		case operator(text[i-1]) && operator(text[i]):
			out.WriteString(text[i:l.end])
		default:
			out.WriteByte(touch)
			out.WriteString(rewritten(l, text[i:l.end]))
		}
		before = l
	}
	return strings.ToValidUTF8(out.String(), "\uFFFD")
}

// rewritten returns what stands for a lexeme in a plain text.
func rewritten(l lexeme, text string) string {
	switch l.kind {
	case literal:
		return "''"
	case word:
		return opaque(text)
	}
	return text
}

// opaque puts a word into double quotes if it has a character which is a part of words to
// PostgreSQL but no letter to go-sqllexer: many scripts have such. There it would end the word, and
// a dollar sign behind it would begin a string.
func opaque(word string) string {
	for _, c := range word {
		if c >= utf8.RuneSelf && !unicode.IsLetter(c) {
			return `"` + word + `"`
		}
	}
	return word
}

// operator tells the signs that make up longer ones together (scan.l, op_chars; ":" is for "::" and
// ":=").
func operator(c byte) bool { return strings.IndexByte("~!@#^&|`?+-*/%<>=:", c) >= 0 }

// shield finds lexemes in all readings that a text may have.
type shield struct {
	text     string
	whole    bool
	readings []reading
}

func newShield(text string, whole bool) *shield {
	s := &shield{text: text, whole: whole, readings: []reading{standard, escaping}}
	if strings.IndexByte(text, '\\') < 0 {
		s.readings = s.readings[:1] // they do not differ
	}
	return s
}

// lex returns the lexeme at i. If the readings differ on where a literal ends, it ends where they
// meet again. The escaping one is given up if it leaves something open at the end of a whole text
// while the standard one, which all servers begin with, does not: a server that reads so would
// refuse the text.
func (s *shield) lex(i int) lexeme {
	first := s.readings[0].lex(s.text, i)
	if first.kind != literal || len(s.readings) == 1 {
		return first
	}
	second := s.readings[1].lex(s.text, i)
	a, b := first, second
	for a.end != b.end {
		if a.end < b.end {
			a = s.readings[0].lex(s.text, a.end)
		} else {
			b = s.readings[1].lex(s.text, b.end)
		}
	}
	if b.open && !a.open && s.whole {
		s.readings = s.readings[:1]
		return first
	}
	return lexeme{end: a.end, kind: literal}
}
