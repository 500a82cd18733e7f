package sqltext

import (
	"regexp"
	"strings"
)

// space stands between words: blanks and comments. A nested comment is not seen.
const space = `(\s|--[^\n]*\n|/\*([^*]|\*+[^*/])*\*+/)`

var chains = regexp.MustCompile(`;` + space + `*(commit|rollback|abort|end)\b[^;]*\band` + space + `+chain\b|` +
	`;` + space + `*(commit|rollback|abort)(` + space + `+(work|transaction))?` + space + `*;` +
	`[\s;]*` + space + `*(begin|start)\b`)

// Chains reports whether a text that Read may misread (see Doubtful) seems to end a transaction in whose
// place another one begins at once. The server's state after it does not show that.
func Chains(sql string) bool {
	return Doubtful(sql) && chains.MatchString(strings.ToLower(sql[:min(len(sql), maxRead)]))
}

// ChainsUnread is Chains for the end of a text that is too long to be read to it.
func ChainsUnread(sql string) bool {
	return len(sql) > maxRead && chains.MatchString(strings.ToLower(sql[maxRead-overlap:]))
}
