package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// watch makes config's connections fill in o. What pgsafe or the application put there stays in
// force.
func (o *observation) watch(config *pgx.ConnConfig) {
	afterNetConnect, buildFrontend := config.AfterNetConnect, config.BuildFrontend
	config.AfterNetConnect = func(ctx context.Context, c *pgconn.Config, conn net.Conn) (net.Conn, error) {
		o.remote = conn.RemoteAddr()
		o.secured, _ = conn.(*tls.Conn)
		if afterNetConnect == nil {
			return conn, nil
		}
		return afterNetConnect(ctx, c, conn)
	}
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		o.auth = &authReader{from: r}
		if buildFrontend == nil {
			return pgproto3.NewFrontend(o.auth, w)
		}
		return buildFrontend(o.auth, w)
	}
}

// tls returns what was agreed on, nil without TLS. The handshake is only made with the first byte,
// so ask it of a connection that was used.
func (o *observation) tls() *tls.ConnectionState {
	if o.secured == nil {
		return nil
	}
	state := o.secured.ConnectionState()
	return &state
}

// The authentication requests of the protocol ("AuthenticationOk" and its like in its
// documentation).
const (
	authOK        = 0
	authCleartext = 3
	authMD5       = 5
	authGSS       = 7
	authSSPI      = 9
	authSASL      = 10
)

// authReader passes on what the server says and notes how it asks for authentication. It sees
// nothing of what the client answers, so it cannot learn a password. It stops listening at the
// first message that is neither about authentication nor a notice.
type authReader struct {
	from       io.Reader
	buffer     []byte
	done       bool
	requests   []uint32
	mechanisms []string // offered for SASL
}

// authLimit is longer than any message before the end of authentication.
const authLimit = 64 << 10

func (a *authReader) Read(p []byte) (int, error) {
	n, err := a.from.Read(p)
	if !a.done {
		a.buffer = append(a.buffer, p[:n]...)
		a.parse()
	}
	return n, err
}

// parse takes whole messages off the buffer: a type, the length of what follows with itself, and
// that.
func (a *authReader) parse() {
	for len(a.buffer) >= 5 {
		size := 1 + int(binary.BigEndian.Uint32(a.buffer[1:5]))
		kind := a.buffer[0]
		if kind != 'R' && kind != 'N' && kind != 'v' || size < 5 || size > authLimit {
			a.done, a.buffer = true, nil
			return
		}
		if len(a.buffer) < size {
			return
		}
		if kind == 'R' && size >= 9 {
			a.request(binary.BigEndian.Uint32(a.buffer[5:9]), a.buffer[9:size])
		}
		a.buffer = a.buffer[size:]
	}
}

func (a *authReader) request(code uint32, body []byte) {
	a.requests = append(a.requests, code)
	if code == authSASL {
		for name := range strings.SplitSeq(string(body), "\x00") {
			if name != "" {
				a.mechanisms = append(a.mechanisms, name)
			}
		}
	}
}

// asked reports whether the server made this request.
func (a *authReader) asked(code uint32) bool { return a != nil && slices.Contains(a.requests, code) }

// askedForPassword reports whether a wrong password would have made a difference. GSS and SSPI use
// tickets.
func (a *authReader) askedForPassword() bool {
	return a.asked(authCleartext) || a.asked(authMD5) || a.asked(authSASL)
}
