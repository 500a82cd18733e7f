package telemetry

// QueryText selects what a span shows of its statement's text, as db.query.text. It does not affect
// db.query.summary, which every span has: the operations and the names of their tables. Set it with
// WithQueryText. The zero value is QueryTextMasked.
type QueryText uint8

const (
	// QueryTextMasked shows the text without literals and comments, up to 4 KiB.
	QueryTextMasked QueryText = iota
	// QueryTextNone shows no text.
	QueryTextNone
	// QueryTextRaw shows the text as the application wrote it, literals and comments included, up to
	// 16 KiB. A text that may set a password is not shown.
	QueryTextRaw
)
