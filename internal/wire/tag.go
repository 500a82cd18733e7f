package wire

// tag is the beginning of the present command tag. It shows that a text has committed a transaction,
// or begun one, in whose place another one may be open now: the status in ReadyForQuery is then the
// same as before. ROLLBACK is also the tag of ROLLBACK TO SAVEPOINT, so it shows nothing.
type tag struct {
	text   [tagLength]byte
	n      int
	turned bool
}

// tagLength is the length of the longest tag that matters, with its end.
const tagLength = len("START TRANSACTION\x00")

func (t *tag) read(p []byte, read int) {
	if read == 0 {
		t.n = 0
	}
	t.n += copy(t.text[t.n:], p)
}

func (t *tag) end() {
	switch string(t.text[:t.n]) {
	case "COMMIT\x00", "BEGIN\x00", "START TRANSACTION\x00":
		t.turned = true
	}
}

// Turned reports whether the server has committed or begun a transaction since Start.
func (w *Wire) Turned() bool { return w != nil && w.tag.turned }
