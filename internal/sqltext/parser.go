package sqltext

import "strings"

// parser reads one statement.
type parser struct {
	tokens []token
	at     int
	out    *summary

	class  Class
	state  State
	hidden bool // nothing of the text may be shown

	readsInput bool // it is a COPY FROM STDIN
	secret     int  // the tokens from here on are one value, to be masked
}

// peek returns the next token, or a zero one at the end.
func (p *parser) peek() token {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return token{}
}

// after returns the key of the token after the one that peek returns.
func (p *parser) after() string {
	return p.keyAt(p.at + 1)
}

// keyAt returns the key of a token by its place, "" where there is none.
func (p *parser) keyAt(i int) string {
	if i < 0 || i >= len(p.tokens) {
		return ""
	}
	return p.tokens[i].key
}

func (p *parser) more() bool { return p.at < len(p.tokens) }

// is reports whether the next token is one of keys.
func (p *parser) is(keys ...string) bool {
	key := p.peek().key
	for _, k := range keys {
		if key == k {
			return true
		}
	}
	return false
}

// skip steps over the next token if it is one of keys.
func (p *parser) skip(keys ...string) bool {
	if !p.is(keys...) {
		return false
	}
	p.at++
	return true
}

// skipAll steps over all tokens that are one of keys.
func (p *parser) skipAll(keys ...string) {
	for p.skip(keys...) {
	}
}

// skipGroup steps over a pair of parentheses, if one opens here.
func (p *parser) skipGroup() {
	for depth := 0; p.is("(") || depth > 0 && p.more(); p.at++ {
		switch {
		case p.is("("):
			depth++
		case !p.is(")"):
		case depth == 1:
			p.at++
			return
		default:
			depth--
		}
	}
}

// find moves to the next token outside of parentheses that is one of keys, or to the end.
func (p *parser) find(keys ...string) bool {
	for p.more() && !p.is(keys...) {
		if p.is("(") {
			p.skipGroup()
		} else {
			p.at++
		}
	}
	return p.more()
}

// name reads a name with its qualifiers. It returns "" if there is none.
func (p *parser) name() string {
	if !p.peek().named() {
		return ""
	}
	start := p.at
	p.at++
	for p.is(".") && p.at+1 < len(p.tokens) && p.tokens[p.at+1].named() {
		p.at += 2
	}
	if p.at == start+1 {
		return p.tokens[start].text
	}
	var full strings.Builder
	for _, t := range p.tokens[start:p.at] {
		full.WriteString(t.text)
	}
	return full.String()
}

// target adds the name that comes next, if one does.
func (p *parser) target() {
	if name := p.name(); name != "" {
		p.out.add(name)
	}
}

// targets adds the names of a list. What follows a name in parentheses, columns or arguments, is
// left out.
func (p *parser) targets() {
	for {
		p.skip("ONLY")
		p.target()
		p.skip("*")
		p.skipGroup()
		if !p.skip(",") {
			return
		}
	}
}

// classify makes the statement at least this class.
func (p *parser) classify(c Class) { p.class = stronger(p.class, c) }
