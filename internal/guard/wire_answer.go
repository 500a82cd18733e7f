package guard

import (
	"bytes"
	"encoding/binary"
)

// verdict is what an answer proves so far.
type verdict uint8

const (
	undecided verdict = iota
	proven            // the request never began
	unproven          // it may have
)

// answer reads the first messages of what the server says, in pieces of any size.
type answer struct {
	head [5]byte // type and length of the present message
	have int     // how much of head there is
	left int     // what is missing of its body
	text report
	// warned is true once the server has said that it ends the session at once. It says no more, so only the end of the
	// connection can follow.
	warned bool
}

// read takes the next piece.
func (a *answer) read(p []byte) verdict {
	for len(p) > 0 {
		if a.have < len(a.head) {
			n := copy(a.head[a.have:], p)
			a.have, p = a.have+n, p[n:]
			if v := a.begin(); v != undecided {
				return v
			}
			continue
		}
		n := min(a.left, len(p))
		if a.isReport() {
			a.text.read(p[:n])
		}
		a.left, p = a.left-n, p[n:]
		if v := a.end(); v != undecided {
			return v
		}
	}
	return undecided
}

// begin judges a message by its head: only some may come in front of the last words.
func (a *answer) begin() verdict {
	switch a.head[0] {
	case 'E', 'N', 'S', 'A': // error, notice, parameter status, notification
	case '1', '3', 't', 'T', 'n': // to Parse, Close, and the Describe of a statement
	default: // BindComplete above all
		return unproven
	}
	if a.have < len(a.head) {
		return undecided
	}
	a.left = int(int32(binary.BigEndian.Uint32(a.head[1:]))) - 4
	a.text = report{}
	if a.left < 0 {
		return unproven
	}
	return a.end()
}

// end judges a message that is complete.
func (a *answer) end() verdict {
	if a.left > 0 {
		return undecided
	}
	a.have = 0
	ends := bytes.HasPrefix(a.text.code[:], []byte("57P"))
	switch {
	case a.head[0] == 'E' && ends && a.text.is("FATAL"):
		return proven
	case a.head[0] == 'E':
		return unproven
	case a.head[0] == 'N':
		a.warned = ends && a.text.is("WARNING")
	}
	return undecided
}

func (a *answer) isReport() bool { return a.head[0] == 'E' || a.head[0] == 'N' }

// report reads the fields of an error or a notice that matter: each is a letter and a text that ends with a zero.
type report struct {
	field    byte // 0 before the next one
	at       int  // in its text
	severity [8]byte
	original [8]byte // the severity where it is not translated; servers before 9.6 and poolers do not say it
	code     [5]byte
}

func (r *report) read(p []byte) {
	for _, b := range p {
		switch {
		case r.field == 0:
			r.field, r.at = b, 0
		case b == 0:
			r.field = 0
		default:
			if into := r.into(); r.at < len(into) {
				into[r.at] = b
			}
			r.at++
		}
	}
}

func (r *report) into() []byte {
	switch r.field {
	case 'S':
		return r.severity[:]
	case 'V':
		return r.original[:]
	case 'C':
		return r.code[:]
	}
	return nil
}

func (r *report) is(severity string) bool {
	said := r.original[:]
	if said[0] == 0 {
		said = r.severity[:]
	}
	return string(bytes.TrimRight(said, "\x00")) == severity
}
