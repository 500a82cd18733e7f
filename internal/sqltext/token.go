package sqltext

import (
	"strings"

	"github.com/DataDog/go-sqllexer"
)

// token is a piece of a statement that is shown or masked as a whole.
type token struct {
	kind  kind
	text  string
	key   string // words in upper case, symbols as they are, empty for all else
	blank bool   // there was a blank before it
}

// named reports whether the token may be a name.
func (t token) named() bool { return t.kind == word || t.kind == quoted }

// gap is what stands before the token.
func (t token) gap() string {
	if t.blank {
		return " "
	}
	return ""
}

// tokenize cuts a plain text into tokens. What go-sqllexer cuts although nothing separates it is
// one token, such as "a""b" or an operator of several signs.
func tokenize(text string) []token {
	lexer := sqllexer.New(text, sqllexer.WithDBMS(sqllexer.DBMSPostgres))
	upper := strings.Map(upperCase, text)
	tokens := make([]token, 0, len(text)/4)
	start, end := 0, 0 // of the token that is being read
	apart, spaced := true, false
	for {
		t := lexer.Scan()
		if t.Type == sqllexer.EOF {
			return tokens
		}
		if apart {
			start = end
		}
		end += len(t.Value)
		switch {
		case t.Type == sqllexer.SPACE:
			apart, spaced = true, strings.IndexByte(t.Value, gap) >= 0
			continue
		case apart:
			tokens = append(tokens, token{kind: kindOf(t.Type), blank: spaced})
		}
		apart = false
		last := &tokens[len(tokens)-1]
		last.text = text[start:end]
		if last.kind == word || last.kind == symbol {
			last.key = upper[start:end]
		}
	}
}

// upperCase is PostgreSQL's for keywords, which concerns ASCII only (downcase_truncate_identifier).
func upperCase(c rune) rune {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// kindOf is the kind of go-sqllexer's type. What is not known to be harmless is a literal.
func kindOf(t sqllexer.TokenType) kind {
	switch t {
	case sqllexer.QUOTED_IDENT:
		return quoted
	case sqllexer.IDENT, sqllexer.FUNCTION, sqllexer.COMMAND, sqllexer.KEYWORD, sqllexer.BOOLEAN, sqllexer.NULL,
		sqllexer.PROC_INDICATOR, sqllexer.CTE_INDICATOR, sqllexer.ALIAS_INDICATOR:
		return word
	case sqllexer.OPERATOR, sqllexer.JSON_OP, sqllexer.WILDCARD, sqllexer.PUNCTUATION, sqllexer.UNKNOWN:
		return symbol
	case sqllexer.POSITIONAL_PARAMETER:
		return param
	}
	return literal
}
