package sqltext

import "strings"

// cutMark stands for the rest of a text.
const cutMark = " ..."

// printer puts a masked text together, up to its longest.
type printer struct {
	text strings.Builder
	full bool
}

// print adds tokens, with literals masked and lists of them shortened.
func (p *printer) print(tokens []token) {
	rows := false // the last thing printed is a row of literals after VALUES
	for i := 0; i < len(tokens) && !p.full; i++ {
		t := tokens[i]
		if rows && t.key == "," {
			if end := literals(tokens, i+1); end > 0 {
				i = end
				continue
			}
		}
		rows = false
		end := 0
		if i > 0 {
			end = literals(tokens, i)
		}
		switch {
		case end > 0 && (tokens[i-1].key == "IN" || tokens[i-1].key == "ARRAY"):
			p.add(t.gap(), t.text+"?"+tokens[end].text)
			i = end
		case end > 0 && tokens[i-1].key == "VALUES":
			p.each(tokens[i : end+1])
			i, rows = end, true
		default:
			p.token(t)
		}
	}
}

// literals returns where the list that tokens[i] opens ends, if it holds nothing but literals. Else
// it returns 0.
func literals(tokens []token, i int) (end int) {
	if i >= len(tokens) || tokens[i].key != "(" && tokens[i].key != "[" {
		return 0
	}
	for i++; i+1 < len(tokens) && tokens[i].kind == literal; i += 2 {
		switch tokens[i+1].key {
		case ",":
		case ")", "]":
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

func (p *printer) each(tokens []token) {
	for _, t := range tokens {
		p.token(t)
	}
}

func (p *printer) token(t token) {
	if t.kind == literal {
		p.add(t.gap(), "?")
	} else {
		p.add(t.gap(), t.text)
	}
}

// mask adds one "?" for all of tokens.
func (p *printer) mask(tokens []token) {
	if len(tokens) > 0 {
		p.add(tokens[0].gap(), "?")
	}
}

// separate ends a statement.
func (p *printer) separate() { p.add("", ";") }

// add adds text after a gap.
func (p *printer) add(gap, text string) {
	if p.text.Len() == 0 {
		gap = ""
	}
	p.full = p.full || p.text.Len()+len(gap)+len(text) > maxMasked-len(cutMark)
	if !p.full {
		p.text.WriteString(gap)
		p.text.WriteString(text)
	}
}

// finish returns the masked text. It is marked as cut if it is, or if the original was not read
// whole.
func (p *printer) finish(whole bool) string {
	if (p.full || !whole) && p.text.Len() > 0 {
		p.text.WriteString(cutMark)
	}
	return p.text.String()
}
