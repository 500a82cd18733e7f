package canceler_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// A server, or a proxy in front of it, that delivers a cancellation late, which PostgreSQL itself
// does not do to order.
func TestFence(t *testing.T) {
	canceled := &pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014",
		Message: "canceling statement due to user request"}
	t.Run("a cancellation that comes late hits the empty query and nothing else", func(t *testing.T) {
		server := newFakeServer(t, deliversCancels)
		conn, c := connect(t, server, time.Minute)
		defer c.Close()
		cancelled(t, server, conn)
		server.answer = func(sql string) pgproto3.BackendMessage {
			if sql == "" {
				return canceled
			}
			return &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}
		}
		handler := canceler.HandlerOf(conn)
		check.Equal(t, handler.Fenced(), true)
		check.OK(t, handler.Clear())
		check.Equal(t, handler.Fenced(), false)
		check.OK(t, conn.Exec(t.Context(), "select 2").Close())
		check.OK(t, handler.Clear())
		check.Equal(t, server.queries("") == 1 && server.queries("select 2") == 1, true)
	})
	t.Run("a connection that fails the empty query is closed", func(t *testing.T) {
		server := newFakeServer(t, deliversCancels)
		conn, c := connect(t, server, time.Minute)
		defer c.Close()
		cancelled(t, server, conn)
		server.answer = func(string) pgproto3.BackendMessage {
			return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "08P01", Message: "no"}
		}
		check.Equal(t, canceler.HandlerOf(conn).Clear() != nil && conn.IsClosed(), true)
	})
	t.Run("a connection that does not answer the empty query is closed after the timeout", func(t *testing.T) {
		server := newFakeServer(t, deliversCancels)
		conn, c := connect(t, server, 500*time.Millisecond)
		defer c.Close()
		cancelled(t, server, conn)
		server.answer = func(string) pgproto3.BackendMessage { return nil }
		check.Equal(t, canceler.HandlerOf(conn).Clear() != nil && conn.IsClosed(), true)
	})
	t.Run("a connection whose cancel request was not dealt with in time is closed before its next use",
		func(t *testing.T) {
			server := newFakeServer(t, keepsCancels)
			conn, c := connect(t, server, 500*time.Millisecond)
			defer c.Close()
			late(t, server, conn)
			check.Equal(t, canceler.HandlerOf(conn).Fenced(), true)
			check.Equal(t, canceler.HandlerOf(conn).Clear() != nil && conn.IsClosed(), true)
			check.Equal(t, server.queries(""), 0)
		})
	t.Run("the connection of a request that was not dealt with in time is left to the server, until Close",
		func(t *testing.T) {
			server := newFakeServer(t, keepsCancels)
			conn, c := connect(t, server, 500*time.Millisecond)
			late(t, server, conn)
			another, itsCanceler := connect(t, server, 500*time.Millisecond)
			late(t, server, another)
			check.Equal(t, len(server.takenBack), 0) // the first one's time is long over
			c.Close()
			itsCanceler.Close()
			<-server.takenBack
			<-server.takenBack
		})
	t.Run("after Close a cancelled statement costs the connection at once", func(t *testing.T) {
		server := newFakeServer(t, deliversCancels)
		conn, c := connect(t, server, time.Hour)
		c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		server.answer = func(string) pgproto3.BackendMessage {
			cancel()
			return nil
		}
		check.Equal(t, errors.Is(conn.Exec(ctx, "select 1").Close(), context.Canceled) && conn.IsClosed(), true)
		check.Equal(t, canceler.HandlerOf(conn).Fenced(), false)
		<-conn.CleanupDone()
	})
	t.Run("with Patient no request is sent, and the server has its time", func(t *testing.T) {
		server := newFakeServer(t, deliversCancels)
		conn, c := connect(t, server, time.Millisecond)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		server.answer = func(string) pgproto3.BackendMessage {
			cancel()
			return &pgproto3.CommandComplete{CommandTag: []byte("COMMIT")}
		}
		check.OK(t, conn.Exec(canceler.Patient(ctx, time.Hour), "commit").Close())
		check.Equal(t, canceler.HandlerOf(conn).Fenced() || conn.IsClosed(), false)
		check.OK(t, conn.Exec(t.Context(), "select 1").Close()) // no deadline is left behind
		check.Equal(t, len(server.cancels), 0)
	})
	t.Run("a connection without a handler is never fenced", func(t *testing.T) {
		var none *canceler.Handler
		check.Equal(t, none.Fenced(), false)
		check.OK(t, none.Clear())
	})
}

// cancelled runs a statement that its context ends.
func cancelled(t *testing.T, server *fakeServer, conn *pgconn.PgConn) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	server.answer = func(string) pgproto3.BackendMessage {
		cancel()
		<-server.cancels
		return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014", Message: "canceling statement due to user request"}
	}
	check.Equal(t, canceler.IsCanceled(conn.Exec(ctx, "select 1").Close()), true)
}

// late runs a statement to its end whose context ends, and whose cancel request the server does
// not deal with.
func late(t *testing.T, server *fakeServer, conn *pgconn.PgConn) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	server.answer = func(string) pgproto3.BackendMessage {
		cancel()
		<-server.cancels // it is sent, and stays on its way
		return &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}
	}
	check.OK(t, conn.Exec(ctx, "select 1").Close())
}

func connect(t *testing.T, server *fakeServer, timeout time.Duration) (*pgconn.PgConn, *canceler.Canceler) {
	t.Helper()
	config, err := pgconn.ParseConfig("postgres://u@" + server.listener.Addr().String() + "/db?sslmode=disable")
	check.OK(t, err)
	c := canceler.New(timeout)
	wire.Watch(config)
	c.Watch(config)
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	check.OK(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn, c
}

// What a fakeServer does with a connection that brings a cancel request.
type onCancel int

const (
	deliversCancels onCancel = iota // it closes it
	keepsCancels                    // it leaves it open
)

// fakeServer lets every client in and answers queries as the test says.
type fakeServer struct {
	listener  net.Listener
	running   sync.WaitGroup
	onCancel  onCancel
	cancels   chan struct{}                            // one for each cancel request
	takenBack chan struct{}                            // one for each that is kept and whose connection the client closes
	answer    func(sql string) pgproto3.BackendMessage // nil for no answer; set while no query runs

	mu    sync.Mutex
	asked map[string]int
	open  []net.Conn
}

func newFakeServer(t *testing.T, onCancel onCancel) *fakeServer {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check.OK(t, err)
	s := &fakeServer{listener: listener, onCancel: onCancel, cancels: make(chan struct{}, 10),
		takenBack: make(chan struct{}, 10), asked: map[string]int{}}
	s.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open = append(s.open, conn)
			s.mu.Unlock()
			s.running.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.mu.Lock()
		for _, conn := range s.open {
			_ = conn.Close()
		}
		s.mu.Unlock()
		s.running.Wait()
	})
	return s
}

func (s *fakeServer) serve(conn net.Conn) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	rest := make([]byte, binary.BigEndian.Uint32(head)-8)
	if _, err := io.ReadFull(conn, rest); err != nil {
		return
	}
	if binary.BigEndian.Uint32(head[4:]) == 80877102 {
		if s.onCancel == deliversCancels {
			_ = conn.Close()
		}
		s.cancels <- struct{}{}
		if _, err := io.Copy(io.Discard, conn); err == nil {
			s.takenBack <- struct{}{}
		}
		return
	}
	backend := pgproto3.NewBackend(conn, conn)
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for backend.Flush() == nil {
		message, err := backend.Receive()
		query, ok := message.(*pgproto3.Query)
		if err != nil || !ok {
			_ = conn.Close()
			return
		}
		s.mu.Lock()
		s.asked[query.String]++
		s.mu.Unlock()
		if answer := s.answer(query.String); answer != nil {
			backend.Send(answer)
			backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		}
	}
}

func (s *fakeServer) queries(sql string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[sql]
}
