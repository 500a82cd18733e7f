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
	describes uint64         // the statement that the server is describing, 0 for none

	want int // fields of a row, or unknown
	have int // fields that the present message says it has
}

// unknown is the number of fields in the rows of a statement whose description was not seen. Its
// first row says it.
const unknown = -1

// ask is a message whose answer matters: Bind and Describe of a statement, and what ReadyForQuery
// answers.
type ask struct {
	kind byte
	name uint64 // of the statement, hashed; 0 if it has none
}

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
		switch kind := p[0]; kind {
		case 'Q', 'F', 'S':
			r.asked = append(r.asked, ask{kind: 'Z'})
			asked.syncs++
		case 'P':
			delete(r.described, hash(body))
		case 'B':
			_, statement, _ := bytes.Cut(body, []byte{0}) // the first name is the portal's
			r.asked = append(r.asked, ask{kind, hash(statement)})
		case 'D':
			if len(body) > 0 && body[0] == 'S' {
				r.asked = append(r.asked, ask{kind, hash(body[1:])})
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
	case 'T':
		r.describe(r.have)
	case 'n':
		r.describe(0)
	case 't':
		r.describes = r.answered('D')
	case '2':
		r.want = unknown
		if fields, ok := r.described[r.answered('B')]; ok {
			r.want = fields
		}
	case 'C', 'I', 'E':
		r.want = 0
	case 'Z':
		r.want = 0
		r.synced()
	}
	return nil
}

// describe notes a description: of the statement that the server is describing, or of the rows that
// follow.
func (r *rows) describe(fields int) {
	if r.describes == 0 {
		r.want = fields
		return
	}
	if r.described == nil {
		r.described = map[uint64]int{}
	}
	r.described[r.describes] = fields
	r.describes = 0
}

// answered takes the next message of this type off what was asked, and returns its statement. There
// is none if the request was not seen (pgconn.PgConn.ExecBatch).
func (r *rows) answered(kind byte) uint64 {
	if r.next == len(r.asked) || r.asked[r.next].kind != kind {
		return 0
	}
	r.next++
	return r.asked[r.next-1].name
}

// synced takes off what ReadyForQuery answers, and what the server skipped in front of it after an
// error.
func (r *rows) synced() {
	r.describes = 0
	for i := r.next; i < len(r.asked); i++ {
		if r.asked[i].kind == 'Z' {
			r.next = i + 1
			return
		}
	}
}
