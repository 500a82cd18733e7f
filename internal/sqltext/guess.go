package sqltext

import (
	"regexp"
	"strings"
)

// Doubtful reports whether Read may miss a statement of a text or a part of it. A literal with a
// backslash ends elsewhere with another standard_conforming_strings. Read takes a body of BEGIN
// ATOMIC to reach to the text's end.
func Doubtful(sql string) bool {
	return strings.Contains(sql, `\`) || strings.Contains(strings.ToLower(sql), "atomic")
}

// guesses are words with lasting effects, wherever they stand. A command begins a statement, and
// what Read misses is not the first one.
var guesses = []struct {
	words   *regexp.Regexp
	command bool
	state   State
}{
	{regexp.MustCompile(`\b(set|reset)\b`), true, Settings | Role},
	{regexp.MustCompile(`\bpg_settings\b`), false, Settings},
	{regexp.MustCompile(`\blisten\b`), true, Listening},
	{regexp.MustCompile(`\b(temp|temporary|pg_temp(_\d+)?)\b`), false, Temporary},
	{regexp.MustCompile(`\bhold\b`), true, Cursors},
	{regexp.MustCompile(`\bprepare\b`), true, Prepared},
	{regexp.MustCompile(`\b(deallocate|discard)\b`), true, Settings | Role | Deallocated},
	{regexp.MustCompile(`\bload\b`), true, Permanent},
	{regexp.MustCompile(`\b(do|call|execute)\b`), true, Unknown},
	{regexp.MustCompile(`\bu&"`), false, Unknown},
}

// Guess returns the effects of a text that Read may misread. It finds too much rather than too
// little: words in literals and comments count as well.
func Guess(sql string) State { return guess(sql, strings.Contains(sql, ";")) }

// overlap is how much of what Read has read of a long text is guessed again: it may have ended
// within a statement.
const overlap = 1 << 10

// Unread returns the end of a text that is too long to be read to it, "" of others.
func Unread(sql string) string {
	if len(sql) <= maxRead {
		return ""
	}
	return sql[maxRead-overlap:]
}

// GuessUnread returns the effects of the end of a text that is too long to be read to it, 0 of
// others.
func GuessUnread(sql string) State {
	rest := Unread(sql)
	if rest == "" {
		return 0
	}
	return guess(rest, strings.Contains(sql, ";"))
}

// guess judges a part of a text by its words. several is whether the text may have several
// statements.
func guess(part string, several bool) State {
	h := look(part)
	if !h.other && !(h.command && several) { // far cheaper than the expressions
		return 0
	}
	lower := strings.ToLower(part)
	var state State
	for _, g := range guesses {
		if (several || !g.command) && g.words.MatchString(lower) {
			state |= g.state
		}
	}
	for _, word := range wordsOf.FindAllString(lower, -1) {
		state |= functions[word]
	}
	return state
}

var wordsOf = regexp.MustCompile(`\w+`)
