package wire

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// rows knows how many fields the next row must have. pgx's stdlib trusts the server in that: it
// panics when a row has more fields than its description, and repeats the values of the row before
// when it has fewer (stdlib/sql.go, Rows.Next). So does pgx's Rows.Values.
//
// pgx describes a statement when it prepares it, and then runs it without a description
// (pgconn.PgConn.ExecStatement), so the descriptions of prepared statements are kept by name. What
// was asked is kept in order, which is the order of the answers.
type rows struct {
	asked []ask // from next on it is unanswered
	next  int

	described map[uint64]int // fields of a prepared statement, by the hash of its name
	describes uint64         // the statement that the server described just now, 0 for none

	want  int  // fields of a row, or unknown
	began bool // there was a row
	have  int  // fields that the present message says it has
}

// unknown is the number of fields in the rows of a statement whose description was not seen. Its
// first row says it.
const unknown = -1

// ask is a message whose answer matters.
type ask struct {
	kind byte
	name uint64 // of the statement, hashed; 0 if it has none
}

// The kinds of an ask.
const (
	bind              = 'B'
	describeStatement = 'D'
	describePortal    = 'P'
	ready             = 'Z' // Query, FunctionCall or Sync, which ReadyForQuery answers
)

// requests is what a Write asks for.
type requests struct {
	syncs int  // how many ReadyForQuery messages
	open  bool // there is more behind the last of them
}

// ask notes what whole messages ask for.
func (r *rows) ask(p []byte) (asked requests) {
	r.asked, r.next = r.asked[:copy(r.asked, r.asked[r.next:])], 0
	for len(p) >= 5 {
		size := 1 + int(binary.BigEndian.Uint32(p[1:]))
		if size < 5 || size > len(p) {
			break
		}
		body := p[5:size]
		switch p[0] {
		case 'Q', 'F', 'S':
			r.asked = append(r.asked, ask{kind: ready})
			asked.syncs++
		case 'P':
			delete(r.described, hash(body))
		case 'B':
			_, statement, _ := bytes.Cut(body, []byte{0}) // the first name is the portal's
			r.asked = append(r.asked, ask{bind, hash(statement)})
		case 'D':
			if len(body) > 0 && body[0] == 'S' {
				r.asked = append(r.asked, ask{describeStatement, hash(body[1:])})
			} else {
				r.asked = append(r.asked, ask{kind: describePortal})
			}
		case 'C':
			if len(body) > 0 && body[0] == 'S' {
				delete(r.described, hash(body[1:]))
			}
		}
		asked.open = isExtended(p[0]) && p[0] != 'S'
		p = p[size:]
	}
	return asked
}

var seed = maphash.MakeSeed()

// hash hashes the name that p begins with. It is 0 for the statement without a name, which may be
// another one at any time.
func hash(p []byte) uint64 {
	name, _, _ := bytes.Cut(p, []byte{0})
	if len(name) == 0 {
		return 0
	}
	return max(1, maphash.Bytes(seed, name))
}

// count reads the number of fields, the first two bytes of the body of a row or a description. read
// is how much of it was there before.
func (r *rows) count(p []byte, read int) {
	if read == 0 {
		r.have = 0
	}
	for i := 0; i < len(p) && read+i < 2; i++ {
		r.have = r.have<<8 | int(p[i])
	}
}

// skip returns how much of p is whole rows like the one before: most of what a server says. hear
// alone takes three times as long for them (BenchmarkTap).
func (r *rows) skip(p []byte) int {
	at := 0
	for r.began && len(p)-at >= 7 && p[at] == 'D' {
		size := 1 + int(binary.BigEndian.Uint32(p[at+1:]))
		if size < 7 || size > len(p)-at || int(binary.BigEndian.Uint16(p[at+5:])) != r.want {
			break
		}
		at += size
	}
	return at
}

// end looks at a message that is complete, and has a body of so many bytes.
func (r *rows) end(kind byte, length int) error {
	switch kind {
	case 'D':
		if length < 2 {
			return broken("a row of %d bytes", length)
		}
		if r.want == unknown {
			r.want = r.have
		}
		if r.have != r.want {
			return broken("a row of %d fields, where %d were described", r.have, r.want)
		}
		r.began = true
	case 'T':
		return r.describe(r.have)
	case 'n':
		return r.describe(0)
	case '2':
		r.bound()
	case 'C', 'I', 'E', 's':
		r.began = false
	case 'Z':
		r.want, r.began = 0, false
		r.synced()
	}
	return nil
}

// head returns the kind of what the server has to answer next. It is 0 if that was not seen
// (pgconn.PgConn.ExecBatch).
func (r *rows) head() byte {
	if r.next == len(r.asked) {
		return 0
	}
	return r.asked[r.next].kind
}

// take takes off what the server has answered, and returns its statement.
func (r *rows) take() uint64 {
	r.next++
	return r.asked[r.next-1].name
}

// describe notes a description: of a prepared statement, or of the rows that follow. pgconn takes
// the last one (PgConn.Prepare), but among rows a second one changes what stdlib has settled at
// the first.
func (r *rows) describe(fields int) error {
	switch head := r.head(); {
	case head == describeStatement:
		r.describes = r.take()
	case head == describePortal:
		r.take()
		r.describes = 0
	}
	switch {
	case r.describes != 0:
		if r.described == nil {
			r.described = map[uint64]int{}
		}
		r.described[r.describes] = fields
	case r.began:
		return broken("a description of %d fields among rows", fields)
	default:
		r.want = fields
	}
	return nil
}

// bound settles the fields of the rows to come: those of the prepared statement, unless a
// description is to come first.
func (r *rows) bound() {
	r.want, r.began, r.describes = unknown, false, 0
	if r.head() != bind {
		return
	}
	fields, ok := r.described[r.take()]
	switch {
	case r.head() == describePortal:
		r.want = 0
	case ok:
		r.want = fields
	}
}

// synced takes off what ReadyForQuery answers, and what the server skipped in front of it after an
// error.
func (r *rows) synced() {
	r.describes = 0
	for i := r.next; i < len(r.asked); i++ {
		if r.asked[i].kind == ready {
			r.next = i + 1
			return
		}
	}
}
