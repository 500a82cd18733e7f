package wire

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// Prefix is a statement that goes in front of other requests, in the same packet and without a
// Sync of its own. So both run in one implicit transaction: what it sets for the transaction ends
// with the statement behind it, and if it fails the server skips that statement (postgres.c,
// ignore_till_sync). It returns one row. A Prefix does not change once made.
type Prefix struct {
	parse   []byte
	execute []byte // Bind and Execute
	named   bool
}

// NewPrefix returns the Prefix of a statement with its arguments as text. A connection parses the
// statement once if it has a name: use one name for one text. Without a name it is parsed each
// time.
func NewPrefix(name, text string, types []uint32, arguments [][]byte) (*Prefix, error) {
	parse := &pgproto3.Parse{Name: name, Query: text, ParameterOIDs: types}
	bind := &pgproto3.Bind{PreparedStatement: name, Parameters: arguments}
	p := &Prefix{named: name != ""}
	size := 64 + len(name)
	for _, a := range arguments {
		size += 4 + len(a)
	}
	var err1, err2, err3 error
	p.parse, err1 = parse.Encode(make([]byte, 0, 64+len(name)+len(text)))
	p.execute, err2 = bind.Encode(make([]byte, 0, size))
	p.execute, err3 = (&pgproto3.Execute{}).Encode(p.execute)
	return p, errors.Join(err1, err2, err3)
}

// String shows no argument.
func (*Prefix) String() string { return "wire.Prefix" }

// GoString is String, so that %#v shows no argument either.
func (p *Prefix) GoString() string { return p.String() }

// Arm has p go in front of each request of the extended protocol that follows, until the next call.
// nil ends that. While it is armed, a request that p cannot precede is not sent at all.
func (w *Wire) Arm(p *Prefix) {
	if w == nil {
		return
	}
	w.prefix.armed = p
	if p != nil {
		w.prefix.refusal, w.prefix.applied = nil, false
	}
}

// Applied reports whether the server has run the Prefix that was armed last.
func (w *Wire) Applied() bool { return w != nil && w.prefix.applied }

// Refusal returns the server's error about the Prefix that was armed last, nil if there is none.
// The statement behind it did not begin. pgx gets the same error without the server's words, which
// quote values.
func (w *Wire) Refusal() *pgconn.PgError {
	if w == nil {
		return nil
	}
	return w.prefix.refusal
}

// Forgotten reports whether the Prefix that was armed last failed because of its name: the server
// does not know it any more (DEALLOCATE ALL), or knows it already, from another client of a pooler.
// It succeeds the next time.
func (w *Wire) Forgotten() bool {
	refusal := w.Refusal()
	return refusal != nil && w.prefix.renamed
}

// errUnprefixed is the error of a request that would have run without its Prefix.
var errUnprefixed = errors.New("a statement that cannot have settings in front of it was not sent")

// prefix is the present Prefix, and what the server still has to say about it.
type prefix struct {
	armed  *Prefix
	parsed bool   // the server knows the name
	named  bool   // the one that was sent last has a name
	sent   []byte // keeps its memory

	expects string // the types of the messages that the server owes, in order; "" for none
	present answer
	rest    []byte // what was read and is handed out first

	applied bool
	refusal *pgconn.PgError
	renamed bool // the refusal is about the name
}

// maxKept bounds the memory that is kept for the next request.
const maxKept = 16 << 10

// puts returns what is written: p behind the Prefix, or p alone if it runs nothing.
func (x *prefix) puts(p []byte, owes bool) ([]byte, error) {
	switch runs, transactions := requestsOf(p); {
	case !runs:
		return p, nil
	case owes, transactions != 1:
		return nil, errUnprefixed
	}
	all := x.sent[:0]
	x.expects = "2DC"
	if !x.armed.named || !x.parsed {
		all = append(all, x.armed.parse...)
		x.expects = "12DC"
	}
	all = append(append(all, x.armed.execute...), p...)
	if x.sent = all; cap(all) > maxKept {
		x.sent = nil
	}
	x.named, x.applied, x.refusal, x.renamed = x.armed.named, false, nil, false
	return all, nil
}

// requestsOf reports whether whole messages make the server run something, and in how many implicit
// transactions: 0 for a simple query, and for a request whose Sync is missing.
func requestsOf(p []byte) (runs bool, transactions int) {
	for ended := false; len(p) >= 5; {
		switch p[0] {
		case 'C', 'H': // Close and Flush
		case 'S':
			transactions++
			ended = true
		case 'P', 'B', 'D', 'E':
			if ended {
				return true, 2
			}
			runs = true
		default:
			return true, 0
		}
		size := 1 + int(binary.BigEndian.Uint32(p[1:]))
		p = p[min(max(size, 5), len(p)):]
	}
	return runs, transactions
}

// read reads what the server says, without what it says about the Prefix.
func (x *prefix) read(from io.Reader, p []byte) (int, error) {
	for {
		if len(x.rest) > 0 {
			n := copy(p, x.rest)
			if x.rest = x.rest[n:]; len(x.rest) == 0 {
				x.rest = nil
			}
			return n, nil
		}
		n, err := from.Read(p)
		if x.expects == "" {
			return n, err
		}
		n, refused := x.hear(p[:n])
		switch {
		case refused != nil:
			return n, refused
		case n > 0 && x.rest != nil: // the error comes again
			return n, nil
		case x.rest == nil && (n > 0 || err != nil || len(p) == 0):
			return n, err
		}
	}
}

// answer is the message that the server is saying while it still owes answers about the Prefix.
type answer struct {
	head [5]byte
	have int    // how much of head has come
	left int    // how much of the body is missing
	text []byte // of an error, in whole
}

// The bounds of messages about the Prefix, in bytes.
const (
	maxHidden  = 1 << 10
	maxRefusal = 1 << 20
)

// hear takes the Prefix's messages out of p. It returns how much of p is left for pgx: what a
// server says at any time, and all that follows the Prefix's answer.
func (x *prefix) hear(p []byte) (kept int, err error) {
	m := &x.present
	for at := 0; at < len(p); {
		if x.expects == "" {
			return kept + copy(p[kept:], p[at:]), nil
		}
		piece, err := x.piece(p[at:])
		if err != nil {
			return kept, err
		}
		at += len(piece)
		switch kind := m.head[0]; {
		case isUnasked(kind):
			kept += copy(p[kept:], piece)
		case kind == 'E':
			m.text = append(m.text, piece...)
		}
		if m.have < len(m.head) || m.left > 0 {
			continue
		}
		if err := x.end(); err != nil {
			return kept, err
		}
		if len(x.rest) > 0 { // the error, and what follows it
			x.rest = append(x.rest, p[at:]...)
			return kept, nil
		}
	}
	return kept, nil
}

// piece returns how much of p belongs to the head of the present message, or to its body.
func (x *prefix) piece(p []byte) ([]byte, error) {
	m := &x.present
	if m.have == len(m.head) {
		n := min(m.left, len(p))
		m.left -= n
		return p[:n], nil
	}
	if kind := p[0]; m.have == 0 && kind != 'E' && kind != x.expects[0] && !isUnasked(kind) {
		return nil, broken("a message of type %q in the answer about settings", kind)
	}
	n := copy(m.head[m.have:], p)
	if m.have += n; m.have < len(m.head) {
		return p[:n], nil
	}
	length := binary.BigEndian.Uint32(m.head[1:])
	if err := checkLength(m.head[0], length, false); err != nil {
		return nil, err
	}
	if limit := x.limit(); length > limit {
		return nil, broken("a message of type %q and length %d in the answer about settings", m.head[0], length)
	}
	m.left = int(length) - 4
	return p[:n], nil
}

// limit is the bound for the present message.
func (x *prefix) limit() uint32 {
	switch kind := x.present.head[0]; {
	case kind == 'E':
		return maxRefusal
	case isUnasked(kind): // passed on in pieces, so it has pgx's bound
		return 1<<32 - 1
	}
	return maxHidden
}

// isUnasked reports whether a server may send a message of this type at any time: a notice, a
// parameter's status, a notification.
func isUnasked(kind byte) bool { return kind == 'N' || kind == 'S' || kind == 'A' }

// end takes a message that is complete.
func (x *prefix) end() error {
	kind := x.present.head[0]
	x.present.have = 0
	switch {
	case isUnasked(kind):
		return nil
	case kind == 'E':
		return x.fail()
	case kind == '1':
		x.parsed = x.parsed || x.named
	case kind == 'C':
		x.applied = true
	}
	x.expects = x.expects[1:]
	return nil
}

// fail takes the error that ends the Prefix. pgx gets the error of a session that ends, and the
// error of a cancelled statement, as they are. Of others the words are left out.
func (x *prefix) fail() error {
	text := x.present.text
	x.present.text = nil
	var said pgproto3.ErrorResponse
	if err := said.Decode(text[5:]); err != nil {
		return broken("an error that cannot be read in the answer about settings")
	}
	parsing := x.expects[0] == '1'
	x.expects = ""
	severity := said.SeverityUnlocalized
	if severity == "" {
		severity = said.Severity
	}
	if severity != "ERROR" || said.Code == sqlstate.QueryCanceled {
		x.rest = text
		return nil
	}
	x.refusal = pgconn.ErrorResponseToPgError(&said)
	switch said.Code {
	case sqlstate.InvalidSQLStatementName:
		x.parsed, x.renamed = false, x.named
	case sqlstate.DuplicatePreparedStatement:
		x.parsed, x.renamed = x.named, x.named && parsing
	}
	wordless := pgproto3.ErrorResponse{
		Severity: said.Severity, SeverityUnlocalized: said.SeverityUnlocalized, Code: said.Code,
		Message: "the settings of the statement are refused",
	}
	rest, err := wordless.Encode(nil)
	x.rest = rest
	return err
}
