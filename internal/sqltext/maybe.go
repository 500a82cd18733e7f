package sqltext

import "strings"

// commandWords are the words without which no command has lasting effects. Each begins its
// statement, except HOLD and EXECUTE, which stand in no query.
var commandWords = byLength("set", "reset", "listen", "hold", "prepare", "deallocate", "discard", "load", "do", "call",
	"execute")

// otherWords are the words without which no query has lasting effects. A name in pg_temp_1 and the
// like has them too.
var otherWords = byLength(append(functionNames(), "temp", "temporary", "pg_settings")...)

// words are words in lower case, by their length.
type words [40][]string

func byLength(list ...string) *words {
	w := new(words)
	for _, word := range list {
		w[len(word)] = append(w[len(word)], word)
	}
	return w
}

// has reports whether a word is in the list, in whatever case.
func (w *words) has(word string) bool {
	if len(word) >= len(w) {
		return false
	}
	for _, known := range w[len(word)] {
		if known[0] == word[0]|0x20 && strings.EqualFold(known, word) {
			return true
		}
	}
	return false
}

// hints are what a look at the words of a text finds.
type hints struct {
	command bool // a word of a command with effects
	other   bool // a word or a sign of effects that any statement may have
	several bool // a semicolon
}

// look looks at the words of a text, in literals and comments too, up to the first of other.
func look(sql string) (h hints) {
	for i := 0; i < len(sql); {
		c := sql[i]
		if !inWord[c] {
			h.several = h.several || c == ';'
			i++
			continue
		}
		start := i
		for i < len(sql) && inWord[sql[i]] {
			i++
		}
		switch word := sql[start:i]; {
		case c < 'A': // a number or a parameter
		case len(word) == 1:
			h.other = c|0x20 == 'u' && strings.HasPrefix(sql[i:], `&"`)
		case otherWords.has(word), isTemporarySchema(word):
			h.other = true
		case commandWords.has(word):
			h.command = true
		}
		if h.other {
			return h
		}
	}
	return h
}

// inWord is wordPart as a table.
var inWord = func() (table [256]bool) {
	for c := range table {
		table[c] = wordPart(byte(c))
	}
	return table
}()

// MayLeave reports false if a text certainly has no lasting effects, at a fraction of what Read
// costs.
func MayLeave(sql string) bool {
	sql = skipLines(sql[:min(len(sql), maxRead)])
	h := look(sql)
	return h.other || h.command && (h.several || !beginsWithQuery(sql))
}

// skipLines skips the comments before a text, as sqlc writes them.
func skipLines(sql string) string {
	for {
		sql = strings.TrimLeft(sql, " \t\r\n")
		if !strings.HasPrefix(sql, "--") {
			return sql
		}
		sql = sql[lineEnd(sql, 0):]
	}
}

// beginsWithQuery recognises most queries. In a single one no command can stand.
func beginsWithQuery(sql string) bool {
	for _, verb := range [...]string{"select", "update", "insert", "with", "delete", "merge"} {
		if len(sql) > len(verb) && strings.EqualFold(sql[:len(verb)], verb) && !inWord[sql[len(verb)]] {
			return true
		}
	}
	return false
}
