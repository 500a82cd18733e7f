package scope

import "github.com/pgsafe/pgsafe/internal/sqltext"

// textsLimit is how many texts are remembered.
const textsLimit = 2048

var transactionTexts = sqltext.NewCache(textsLimit, func(text string) bool {
	return sqltext.Read(text).Class >= sqltext.Begin
})

// endsTransaction reports whether a text begins or ends a transaction. Savepoints do not.
func endsTransaction(text string) bool {
	return transactionTexts.Get(text) || sqltext.ChainsUnread(text)
}
