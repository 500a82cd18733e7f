package wire_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// FuzzRead says whatever it likes to a client that has asked for something. However the network
// tears it, the client gets the same, and what it gets of complete messages is as it should be:
// no row that differs from its description.
func FuzzRead(f *testing.F) {
	for _, c := range last {
		f.Add(c.says, uint8(3), false)
	}
	for _, c := range hostile {
		for _, a := range c.answers {
			f.Add(said(append(a, &pgproto3.ReadyForQuery{TxStatus: 'I'})...), uint8(5), false)
		}
	}
	f.Add(said(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"},
		&pgproto3.ReadyForQuery{TxStatus: 'I'}), uint8(1), true)
	f.Add(head('R', 0x7fffffff), uint8(2), true)
	f.Fuzz(func(t *testing.T, says []byte, piece uint8, login bool) {
		whole, wholeErr := heard(t, says, len(says)+1, login)
		torn, tornErr := heard(t, says, 1+int(piece), login)
		check.Equal(t, errors.Is(tornErr, wire.ErrProtocol), errors.Is(wholeErr, wire.ErrProtocol))
		check.Equal(t, bytes.HasPrefix(says, whole) && bytes.HasPrefix(torn, whole), true)
		if wholeErr == nil {
			check.Equal(t, len(whole) == len(says) && len(torn) == len(says), true)
		}
		checkRows(t, whole)
	})
}

// heard returns what comes through of what a server says in pieces.
func heard(t *testing.T, says []byte, piece int, login bool) ([]byte, error) {
	r, w := tapped(t, &pieces{says, piece}, io.Discard)
	asks := asked(&pgproto3.Parse{Query: "select 1"}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'},
		&pgproto3.Execute{}, &pgproto3.Sync{})
	if login {
		asks = startup()
	}
	_, err := w.Write(asks)
	check.OK(t, err)
	return io.ReadAll(r)
}

// checkRows fails if rows among complete messages differ from the description in front of them.
func checkRows(t *testing.T, says []byte) {
	frontend := pgproto3.NewFrontend(bytes.NewReader(says), io.Discard)
	described := -1
	for {
		message, err := frontend.Receive()
		if err != nil {
			return
		}
		switch m := message.(type) {
		case *pgproto3.RowDescription:
			described = len(m.Fields)
		case *pgproto3.DataRow:
			if described >= 0 {
				check.Equal(t, len(m.Values), described)
			}
		default:
			described = -1
		}
	}
}

// pieces says a text in pieces of the given size.
type pieces struct {
	text []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}
