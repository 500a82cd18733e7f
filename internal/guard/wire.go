package guard

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Wire reads along on one connection, in plain text, to know of the last request whether the server can have begun it.
// It stands between pgconn's frontend and its network connection. As with the frontend, only the connection's user may
// call it.
//
// The proof that a statement of the extended protocol never began is a FATAL error of class 57P with no BindComplete in
// front of it. The server works off messages in order, and what it says goes through one buffer in order (pqcomm.c,
// internal_putbytes and internal_flush):
//   - It says BindComplete at the end of exec_bind_message (postgres.c), before it looks at the Execute that follows.
//     Whatever comes earlier, ParseComplete and what Describe tells of a statement, is of no effect outside the session.
//   - A session that is told to end says so in ProcessInterrupts (postgres.c), as a FATAL error, which
//     send_message_to_frontend (elog.c) puts behind what is in the buffer and flushes with it.
//   - A session that has to end at once (quickdie, postgres.c: an immediate shutdown, or the crash of another one) says
//     so with a WARNING of class 57P in the same way, and exits without going back to what it was doing. If its signal
//     came amidst another message, it says nothing (pqcomm.c, PqCommBusy), and nothing is proven.
//
// So a session that got as far as Execute has BindComplete in front of its last words. An error of a worker or of another
// server that has such a code is an ERROR here (parallel.c, HandleParallelMessage; dblink and postgres_fdw).
//
// With the simple protocol there is nothing to tell by: a statement says nothing until it returns rows or is done.
//
// If the error came before the request was sent, together with the end of the answer before, it lies in the frontend's
// buffer (pgproto3, chunkReader.Next) and nothing is read for the request at all. That proves it for both protocols.
//
// A request of which the network took no byte never began either, whatever the protocol. With TLS that holds too: a
// record that was not sent in whole is not read.
type Wire struct {
	asked   asked
	unasked bool // there was no request since Start
	silent  bool // nothing was read since the last request
	answer  answer
	err     error // with which the network failed the last request
}

// asked is what is known of the last request.
type asked uint8

const (
	nothing    asked = iota // no request, or one that may have begun
	awaiting                // no word of the server about it
	neverBegan              // for certain
)

// wireKey is where a Wire hangs on its connection (PgConn.CustomData).
const wireKey = "github.com/pgsafe/pgsafe/internal/guard.Wire"

// Watch lets a Wire read along on the connection that config is for. config must not be used for a second one.
//
// It does so through BuildFrontend and not through AfterNetConnect: pgconn binds SCRAM to the TLS channel only where its
// connection is a *tls.Conn (auth_scram.go, scramAuth), so another net.Conn around that would give up
// SCRAM-SHA-256-PLUS.
func Watch(config *pgconn.Config) {
	var wire *Wire
	build := config.BuildFrontend
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		wire = &Wire{}
		return build(tap{r, w, wire}, tap{r, w, wire})
	}
	validate := config.ValidateConnect
	config.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		conn.CustomData()[wireKey] = wire
		if validate == nil {
			return nil
		}
		return validate(ctx, conn)
	}
}

// WireOf returns the Wire of conn, nil if it has none.
func WireOf(conn *pgconn.PgConn) *Wire {
	wire, _ := conn.CustomData()[wireKey].(*Wire)
	return wire
}

// Start is called before a statement, of which NeverBegan then tells: also that it was not sent at all, for the connection
// had been closed. pgx says that of some that it has sent: its error for a simple statement whose connection broke before
// the answer is that of a connection that is closed, and SafeToRetry (MultiResultReader.NextResult, PgConn.receiveMessage).
func (w *Wire) Start() {
	if w != nil {
		w.asked, w.unasked, w.err = nothing, true, nil
	}
}

// NeverBegan reports whether it is certain that the server has done nothing for the last request, which failed with err.
func (w *Wire) NeverBegan(err error) bool {
	return w != nil && (w.unasked || w.asked == neverBegan || w.silent && isLastWord(err))
}

// isLastWord recognises the server's FATAL error of class 57P.
func isLastWord(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && strings.HasPrefix(pgErr.Code, "57P") &&
		cmp.Or(pgErr.SeverityUnlocalized, pgErr.Severity) == "FATAL"
}

// Err returns the error with which the network failed the last request, nil if it did not.
func (w *Wire) Err() error {
	if w == nil {
		return nil
	}
	return w.err
}

// tap is what the frontend reads from and writes to.
type tap struct {
	r    io.Reader
	w    io.Writer
	wire *Wire
}

func (t tap) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		t.wire.silent = false
	}
	if t.wire.asked == awaiting {
		t.wire.answered(p[:n], err)
	}
	if err != nil && !isTimeout(err) {
		t.wire.err = err
	}
	return n, err
}

// Write is called with whole messages (pgproto3.Frontend, Flush). Those within a COPY, and Terminate, may come from
// another goroutine than the one that reads (pgconn.go, CopyFrom and asyncClose): they ask nothing and leave the Wire as
// it is.
func (t tap) Write(p []byte) (int, error) {
	if len(p) == 0 || !isRequest(p[0]) {
		return t.w.Write(p)
	}
	first := t.wire.asked != awaiting
	t.wire.ask(p[0])
	n, err := t.w.Write(p)
	if err != nil && n == 0 && first {
		t.wire.asked = neverBegan
	}
	if err != nil && !isTimeout(err) {
		t.wire.err = err
	}
	return n, err
}

// isRequest reports whether a message of this type makes the server do something.
func isRequest(kind byte) bool { return isExtended(kind) || kind == 'Q' || kind == 'F' }

// isExtended tells the messages of the extended protocol: Parse, Bind, Describe, Execute, Close, Sync and Flush.
func isExtended(kind byte) bool {
	switch kind {
	case 'P', 'B', 'D', 'E', 'C', 'S', 'H':
		return true
	}
	return false
}

func (w *Wire) ask(kind byte) {
	w.asked, w.unasked, w.silent, w.err = nothing, false, true, nil
	if isExtended(kind) {
		w.asked, w.answer = awaiting, answer{}
	}
}

// answered looks at what came back, up to the first message that settles it.
func (w *Wire) answered(p []byte, err error) {
	switch verdict := w.answer.read(p); {
	case verdict == proven, err != nil && !isTimeout(err) && w.answer.warned:
		w.asked = neverBegan
	case verdict == unproven:
		w.asked = nothing
	}
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}
