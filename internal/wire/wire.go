package wire

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Wire is what is known of one connection. A nil *Wire knows nothing; all methods are safe on it.
// Only the connection's user may call them, as with the frontend, except for OnSent, Owes and Idle, which
// are safe for concurrent use.
type Wire struct {
	debt   debt
	proof  proof
	rows   rows
	flood  flood
	tag    tag
	prefix prefix

	in      message
	login   bool  // the server has not said yet that it is ready
	refused error // why no more is read
}

// key is where a Wire hangs on its connection (pgconn.PgConn.CustomData).
const key = "github.com/pgsafe/pgsafe/internal/wire.Wire"

// Watch installs a Wire on the connection that config is for. config must not be used for a
// second connection.
//
// It works through BuildFrontend and not through AfterNetConnect: pgconn binds SCRAM to the TLS
// channel only where its connection is a *tls.Conn (auth_scram.go, scramAuth), so another
// net.Conn around that would give up SCRAM-SHA-256-PLUS. pgconn.PgConn.ExecBatch writes past the
// frontend, so a Wire does not see its requests, only the answers.
func Watch(config *pgconn.Config) {
	var w *Wire
	build := config.BuildFrontend
	config.BuildFrontend = func(from io.Reader, to io.Writer) *pgproto3.Frontend {
		w = &Wire{}
		return build(tap{from, to, w}, tap{from, to, w})
	}
	// pgconn calls it once the login is done, before anything else is sent (connectOne).
	handler := config.BuildContextWatcherHandler
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		conn.CustomData()[key] = w
		return handler(conn)
	}
}

// Of returns the Wire of conn, nil if it has none.
func Of(conn *pgconn.PgConn) *Wire {
	w, _ := conn.CustomData()[key].(*Wire)
	return w
}

// tap is what the frontend reads from and writes to.
type tap struct {
	from io.Reader
	to   io.Writer
	wire *Wire
}

// Read passes on what the server says, up to a message that breaks the protocol. From there on it
// returns the error that says so, and pgconn closes the connection (peekMessage).
func (t tap) Read(p []byte) (int, error) {
	w := t.wire
	if w.refused != nil {
		return 0, w.refused
	}
	w.proof.reading()
	n, err := w.prefix.read(t.from, p)
	if n > 0 {
		w.proof.silent = false
	}
	passed, refused := w.hear(p[:n])
	if refused == nil && errors.Is(err, ErrProtocol) {
		refused = err
	}
	if refused != nil {
		w.refused = refused
		w.proof.refuse(refused)
		if passed == 0 {
			return 0, refused
		}
		return passed, nil
	}
	w.proof.fail(err, w.in.have > 0 || w.prefix.present.have > 0)
	return n, err
}

// Write gets whole messages (pgproto3.Frontend, Flush and SendUnbufferedEncodedCopyData). Those
// within a COPY, and Terminate, may come from another goroutine than the one that reads (pgconn.go,
// CopyFrom and asyncClose): they ask for nothing and leave the Wire as it is.
func (t tap) Write(p []byte) (int, error) {
	w := t.wire
	switch {
	case len(p) == 0:
		return t.to.Write(p)
	case p[0] == 0: // the length of a startup message, which has no type
		w.login = true
		return t.to.Write(p)
	case w.login || !isRequest(p[0]):
		return t.to.Write(p)
	}
	all := p
	if w.prefix.armed != nil {
		var err error
		if all, err = w.prefix.puts(p, w.Owes()); err != nil {
			w.proof.fail(err, true)
			return 0, err
		}
	}
	first := w.proof.ask(p[0])
	w.flood.reset()
	asked := w.rows.ask(p)
	w.debt.write()
	n, err := t.to.Write(all)
	n = max(0, n-len(all)+len(p)) // a server that got no part of p cannot begin it
	if first && n == 0 && err != nil {
		w.proof.asked = neverBegan
	}
	w.proof.fail(err, true)
	w.debt.written(asked, err)
	return n, err
}

// isRequest reports whether a message of this type makes the server do something.
func isRequest(kind byte) bool { return isExtended(kind) || kind == 'Q' || kind == 'F' }

// isExtended reports whether a message is one of the extended protocol: Parse, Bind, Describe,
// Execute, Close, Sync or Flush.
func isExtended(kind byte) bool {
	switch kind {
	case 'P', 'B', 'D', 'E', 'C', 'S', 'H':
		return true
	}
	return false
}

// message is what the server is saying. Messages come in pieces of any size.
type message struct {
	head [5]byte // its type and its length, which counts itself and the body
	have int     // how much of head has come
	read int     // how much of the body has come
	left int     // how much of the body is missing
}

// hear takes the next piece of what the server says. It returns how much of the piece may be passed
// on: all of it, or what is in front of a message that breaks the protocol, and the reason.
func (w *Wire) hear(p []byte) (int, error) {
	m := &w.in
	start := 0 // of the present message
	for at := 0; at < len(p); {
		if m.have < len(m.head) {
			if m.have == 0 {
				at += w.rows.skip(p[at:])
				start = at
			}
			n := copy(m.head[m.have:], p[at:])
			m.have, at = m.have+n, at+n
			if m.have < len(m.head) {
				break
			}
			if err := w.begin(m.head[0], binary.BigEndian.Uint32(m.head[1:])); err != nil {
				return start, err
			}
		}
		n := min(m.left, len(p)-at)
		if err := w.body(m.head[0], p[at:at+n]); err != nil {
			return start, err
		}
		m.read, m.left, at = m.read+n, m.left-n, at+n
		if m.left > 0 {
			break
		}
		m.have = 0
		if err := w.end(m.head[0]); err != nil {
			return start, err
		}
	}
	return len(p), nil
}

// begin looks at the head of a message.
func (w *Wire) begin(kind byte, length uint32) error {
	if err := checkLength(kind, length, w.login); err != nil {
		return err
	}
	w.in.read, w.in.left = 0, int(length)-4
	w.proof.begin(kind)
	return w.flood.begin(kind, int(length), w)
}

// body looks at a piece of the body of a message.
func (w *Wire) body(kind byte, p []byte) error {
	switch kind {
	case 'D', 'T':
		w.rows.count(p, w.in.read)
	case 'S':
		return w.flood.name(p)
	case 'E', 'N':
		w.proof.body(p)
	case 'C':
		w.tag.read(p, w.in.read)
	}
	return nil
}

// end looks at a message that is complete.
func (w *Wire) end(kind byte) error {
	switch kind {
	case 'E', 'N':
		w.proof.end(kind)
	case 'C':
		w.tag.end()
	case 'Z':
		w.login = false
		w.flood.reset()
		w.debt.pay()
	}
	return w.rows.end(kind, w.in.read)
}
