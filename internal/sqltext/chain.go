package sqltext

import (
	"regexp"
	"strings"
)

var chains = regexp.MustCompile(`;\s*(commit|rollback|abort|end)\b[^;]*\band\s+chain\b|` +
	`;\s*(commit|rollback|abort)(\s+(work|transaction))?\s*;\s*(begin|start)\b`)

// ChainsUnread reports whether the end of a text that is too long to be read to it seems to end a
// transaction in whose place another one begins at once. The server's answer does not show that.
func ChainsUnread(sql string) bool {
	return len(sql) > maxRead && chains.MatchString(strings.ToLower(sql[maxRead-overlap:]))
}
