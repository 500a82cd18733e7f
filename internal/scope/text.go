package scope

import (
	"regexp"
	"strings"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// textsLimit is how many texts are remembered.
const textsLimit = 2048

var transactionTexts = sqltext.NewCache(textsLimit, func(text string) bool {
	return sqltext.Read(text).Class >= sqltext.Begin
})

// chains finds, in what sqltext does not read of a long text, the end of a transaction whose place
// another one takes at once. The server's answer shows any other end.
var chains = regexp.MustCompile(`;\s*(commit|rollback|abort|end)\b[^;]*\band\s+chain\b|` +
	`;\s*(commit|rollback|abort)(\s+(work|transaction))?\s*;\s*(begin|start)\b`)

// endsTransaction reports whether a text begins or ends a transaction. Savepoints do not.
func endsTransaction(text string) bool {
	if transactionTexts.Get(text) {
		return true
	}
	rest := sqltext.Unread(text)
	return rest != "" && chains.MatchString(strings.ToLower(rest))
}
