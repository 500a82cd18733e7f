package wire

import (
	"bytes"
	"errors"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/failure"
)

// proof knows of the last request whether the server can have begun it.
//
// The proof that a statement of the extended protocol never began is a FATAL error of class 57P
// with no BindComplete in front of it. The server works off messages in order, and what it says
// goes through one buffer in order (pqcomm.c, internal_putbytes and internal_flush):
//   - It says BindComplete at the end of exec_bind_message (postgres.c), before it looks at the
//     Execute that follows. Whatever comes earlier, ParseComplete and the description of a
//     statement, has no effect outside the session.
//   - A session that is told to end says so in ProcessInterrupts (postgres.c), as a FATAL error.
//     send_message_to_frontend (elog.c) puts it behind what is in the buffer and flushes both.
//   - A session that has to end at once (quickdie, postgres.c: an immediate shutdown, or the
//     crash of another session) says so with a WARNING of class 57P in the same way, and exits
//     without going back to its work. If its signal came amidst another message, it says nothing
//     (pqcomm.c, PqCommBusy), and nothing is proven.
//
// So a session that got as far as Execute has BindComplete in front of its last words. An error
// of a worker or of another server that has such a code is an ERROR here (parallel.c,
// HandleParallelMessage; dblink and postgres_fdw).
//
// The simple protocol offers no such proof: a statement says nothing until it returns rows or is
// done.
//
// If the error came before the request was sent, together with the end of the answer before, it
// lies in the frontend's buffer (pgproto3, chunkReader.Next) and nothing is read for the request
// at all. That proves it for both protocols.
//
// A request of which the network took no byte never began either, whatever the protocol. With TLS
// that holds too: a record that was not sent in whole is not read.
type proof struct {
	asked   verdict
	unasked bool // there was no request since Start
	silent  bool // nothing was read since the last request
	warned  bool // the server has said that it ends the session at once
	text    report
	err     error // with which the network, or the server's protocol, failed the last request
}

// verdict is what is known of the last request.
type verdict uint8

const (
	nothing    verdict = iota // no request, or one that may have begun
	awaiting                  // no word of the server about it
	neverBegan                // for certain
)

// Start is called before a statement that NeverBegan is asked about. Then NeverBegan also reports
// that the statement was not sent at all, because the connection had been closed. pgx says the
// same of some statements that it has sent: its error for a simple statement whose connection
// broke before the answer is that the connection is closed, and SafeToRetry
// (MultiResultReader.NextResult, PgConn.receiveMessage).
func (w *Wire) Start() {
	if w != nil {
		w.proof.asked, w.proof.unasked, w.proof.err = nothing, true, nil
		w.tag.turned = false
		w.prefix.refusal, w.prefix.applied, w.prefix.renamed = nil, false, false
	}
}

// NeverBegan reports whether the server has certainly done nothing for the last request, which
// failed with err.
func (w *Wire) NeverBegan(err error) bool {
	if w == nil {
		return false
	}
	p := &w.proof
	return p.unasked || p.asked == neverBegan || p.silent && isLastWord(err)
}

// Err returns the error with which the network failed the last request, or the ErrProtocol with
// which the answer was refused. It is nil if neither happened.
func (w *Wire) Err() error {
	if w == nil {
		return nil
	}
	return w.proof.err
}

// isLastWord recognises the server's FATAL error of class 57P.
func isLastWord(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && strings.HasPrefix(pgErr.Code, "57P") && failure.IsFatal(pgErr)
}

// ask notes a request, and reports whether it does not continue one that has no answer yet.
func (p *proof) ask(kind byte) bool {
	first := p.asked != awaiting
	p.asked, p.unasked, p.silent, p.warned, p.err = nothing, false, true, false, nil
	if isExtended(kind) {
		p.asked = awaiting
	}
	return first
}

// reading notes that the caller waits for the server. Without a request that is an answer to one
// that was not seen (pgconn.PgConn.ExecBatch), so it is not known any more that none was sent.
func (p *proof) reading() { p.unasked = false }

// begin judges a message by its type: only some may come in front of the last words.
func (p *proof) begin(kind byte) {
	if p.asked != awaiting {
		return
	}
	switch kind {
	case 'E', 'N': // an error or a notice, whose text is looked at
		p.text = report{}
	case 'S', 'A': // a parameter's status, a notification
	case '1', '3', 't', 'T', 'n': // to Parse, Close, and the Describe of a statement
	default: // BindComplete above all
		p.asked = nothing
	}
}

func (p *proof) body(piece []byte) {
	if p.asked == awaiting {
		p.text.read(piece)
	}
}

// end judges an error or a notice that is complete.
func (p *proof) end(kind byte) {
	if p.asked != awaiting {
		return
	}
	last := bytes.HasPrefix(p.text.code[:], []byte("57P"))
	switch {
	case kind == 'N':
		p.warned = last && p.text.is("WARNING")
	case last && p.text.is("FATAL"):
		p.asked = neverBegan
	default:
		p.asked = nothing
	}
}

// fail notes an error of the network. After the warning that the session ends at once only the
// end of the connection can follow; torn is true if a message has begun since.
func (p *proof) fail(err error, torn bool) {
	if err == nil || isTimeout(err) {
		return
	}
	p.err = err
	if p.asked == awaiting && p.warned && !torn {
		p.asked = neverBegan
	}
}

// refuse notes that the answer broke the protocol.
func (p *proof) refuse(err error) { p.asked, p.err = nothing, err }

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

// report reads the fields of an error or a notice that matter: each is a letter and a text that
// ends with a zero.
type report struct {
	field    byte // 0 before the next one
	at       int  // in its text
	severity [8]byte
	original [8]byte // the severity, untranslated; servers before 9.6 and poolers do not say it
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
