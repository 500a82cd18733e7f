package connect_test

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// fakeServer lets clients in, answers the question for its process id, and says last words instead
// of an answer to any other query. It then closes the connection.
func fakeServer(t *testing.T, lastWords pgproto3.BackendMessage) (uri string) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check.OK(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_ = serve(conn, lastWords) // the client has gone
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return fmt.Sprintf("postgres://u@%s/db?sslmode=disable", listener.Addr())
}

func serve(conn net.Conn, lastWords pgproto3.BackendMessage) error {
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return err
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 7, SecretKey: []byte("1234")})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for {
		if err := b.Flush(); err != nil {
			return err
		}
		message, err := b.Receive()
		if err != nil {
			return err
		}
		if query, ok := message.(*pgproto3.Query); !ok || query.String != "SELECT pg_backend_pid()" {
			b.Send(lastWords)
			return b.Flush()
		}
		column := pgproto3.FieldDescription{Name: []byte("pg_backend_pid"), DataTypeOID: 23}
		b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{column}})
		b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("7")}})
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}
