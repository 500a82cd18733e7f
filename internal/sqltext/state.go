package sqltext

import (
	"regexp"
	"strings"
)

// State is a set of what a statement can leave behind in its session when its transaction is over.
//
// Only words tell: a function, a procedure or a DO block that does such things by itself leaves no
// trace in the text. What LOAD has loaded stays for the life of the connection, and is no State,
// because nothing can undo it.
type State uint16

// What can be left behind.
const (
	Settings    State = 1 << iota // SET, RESET, set_config(..., false), DISCARD ALL: any setting, so the role too
	Role                          // SET ROLE, SET SESSION AUTHORIZATION
	Listening                     // LISTEN
	Temporary                     // CREATE TEMP, SELECT INTO TEMP; not with ON COMMIT DROP
	Locks                         // pg_advisory_lock and its like, except a transaction's locks
	Cursors                       // DECLARE ... WITH HOLD
	Prepared                      // PREPARE
	Deallocated                   // DEALLOCATE ALL, DISCARD ALL: statements that the driver takes to be prepared are not
)

// stateNames are in the order of the constants.
var stateNames = [...]string{"settings", "role", "listen", "temporary", "lock", "cursor", "prepared", "deallocated"}

// Names returns one word for each thing in the set.
func (s State) Names() []string {
	var names []string
	for i, name := range stateNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// stateWords are those without which a text leaves nothing behind. SET, which is part of UPDATE
// too, is not among them.
var stateWords = [...]string{"reset", "set_config", "listen", "temp", "advisory", "hold", "prepare", "deallocate",
	"discard"}

// MayLeave reports false if a text certainly leaves nothing behind, at a fraction of what Read
// costs.
func MayLeave(sql string) bool {
	sql = strings.ToLower(sql[:min(len(sql), maxRead)])
	for _, word := range stateWords {
		if strings.Contains(sql, word) {
			return true
		}
	}
	return strings.Contains(sql, "set") && !singleQuery(sql)
}

// singleQuery recognises most texts whose SET, if there is one, is not the first word of a
// statement.
func singleQuery(lower string) bool {
	for _, verb := range [...]string{"select", "update", "insert", "with", "delete", "merge"} {
		if strings.HasPrefix(lower, verb) {
			return !strings.Contains(lower, ";")
		}
	}
	return false
}

// overlap is how much of what Read has read of a long text Unread returns again: it may have ended
// within a statement.
const overlap = 1 << 10

// Unread returns the end of a text that is too long to be read to it, "" of others.
func Unread(sql string) string {
	if len(sql) <= maxRead {
		return ""
	}
	return sql[maxRead-overlap:]
}

// Doubtful reports whether Read may miss a statement of a text or a part of it. A literal with a
// backslash ends elsewhere with another standard_conforming_strings. Read takes a body of BEGIN
// ATOMIC to reach to the text's end.
func Doubtful(sql string) bool {
	return strings.Contains(sql, `\`) || strings.Contains(strings.ToLower(sql), "atomic")
}

// guesses are words that leave something behind, wherever they stand. A command begins a statement,
// and what Read misses is not the first one.
var guesses = []struct {
	words   *regexp.Regexp
	command bool
	state   State
}{
	{regexp.MustCompile(`\bset_config\b`), false, Settings | Role},
	{regexp.MustCompile(`\b(set|reset)\b`), true, Settings | Role},
	{regexp.MustCompile(`\blisten\b`), true, Listening},
	{regexp.MustCompile(`\b(create|replace|into|global|local)\s+temp(orary)?\b|\bpg_temp\b`), false, Temporary},
	{regexp.MustCompile(`\bpg_(try_)?advisory_lock(_shared)?\b`), false, Locks},
	{regexp.MustCompile(`\bwith\s+hold\b`), false, Cursors},
	{regexp.MustCompile(`\bprepare\b`), true, Prepared},
	{regexp.MustCompile(`\b(deallocate|discard)\b`), true, Settings | Role | Deallocated},
}

// Guess is for a text that Read cannot read, or may misread. It finds too much rather than too
// little: words in literals and comments count as well.
func Guess(sql string) State {
	lower := strings.ToLower(sql)
	several, found := strings.Contains(lower, ";"), strings.Contains(lower, "set")
	for _, word := range stateWords {
		found = found || strings.Contains(lower, word)
	}
	if !found { // far cheaper than the expressions
		return 0
	}
	var state State
	for _, g := range guesses {
		if (several || !g.command) && g.words.MatchString(lower) {
			state |= g.state
		}
	}
	return state
}

// leaves adds to what the statement leaves behind.
func (p *parser) leaves(s State) { p.state |= s }

// leftBy is what a command leaves behind that only names what it is about.
func (p *parser) leftBy(key string) State {
	switch key {
	case "LISTEN":
		return Listening
	case "RESET":
		if p.is("ROLE", "SESSION") {
			return Role
		}
		return Settings
	case "DISCARD":
		if p.is("ALL") {
			return Settings | Role | Deallocated
		}
	case "DEALLOCATE":
		p.skip("PREPARE")
		if p.is("ALL") {
			return Deallocated
		}
	}
	return 0
}

// leavesTemporary is for what is created as temporary, unless it goes with the transaction.
func (p *parser) leavesTemporary() {
	for i, t := range p.tokens {
		if t.key == "ON" && i+2 < len(p.tokens) && p.tokens[i+1].key == "COMMIT" && p.tokens[i+2].key == "DROP" {
			return
		}
	}
	p.leaves(Temporary)
}

// inTemporarySchema reports whether the next name is qualified by pg_temp.
func (p *parser) inTemporarySchema() bool {
	return fold(p.peek().text) == "pg_temp" && p.after() == "."
}

// called looks at a function by its name. Its arguments come next.
func (p *parser) called(function string) {
	switch function {
	case "set_config":
		if p.lastArgumentIs("TRUE") { // is_local
			return
		}
		p.leaves(Settings | Role) // its name may be an argument
	case "pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared":
		p.leaves(Locks)
	default:
		return
	}
	p.classify(Session)
}

// lastArgumentIs reports whether the last argument in the parentheses that open here is the word
// key and nothing else.
func (p *parser) lastArgumentIs(key string) bool {
	at := p.at
	p.skipGroup()
	end := p.at - 1
	p.at = at
	return end-2 > at && p.tokens[end-1].key == key && p.tokens[end-2].key == ","
}
