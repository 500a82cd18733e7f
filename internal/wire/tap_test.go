package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// tapped returns the two ends of a Wire that a frontend would get, between it and a server that
// says from.
func tapped(tb testing.TB, from io.Reader, to io.Writer) (io.Reader, io.Writer) {
	tb.Helper()
	r, w, _ := wire.Tap(from, to)
	return r, w
}

func asked(messages ...pgproto3.FrontendMessage) []byte {
	var all []byte
	for _, m := range messages {
		var err error
		if all, err = m.Encode(all); err != nil {
			panic(err) // none of them can fail
		}
	}
	return all
}

// startup is what a client says first.
func startup() []byte {
	return asked(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters: map[string]string{"user": "u"}})
}

func head(kind byte, length uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, length)
}

func TestLengthsOfMessagesAreChecked(t *testing.T) {
	for _, c := range []struct {
		name    string
		login   bool
		says    []byte
		refused bool
	}{
		{"a greeting of 2 GiB", true, head('R', 0x7fffffff), true},
		{"a greeting of 4 GiB", true, head('R', 0xffffffff), true},
		{"an error of 1 MiB before the login is done", true, head('E', 1<<20), true},
		{"an error of an old server that has no length", true, []byte("Ecould not fork new process\n\x00"), true},
		{"an error of 30,000 bytes before the login is done", true, head('E', 30_000), false},
		{"a message whose length does not count itself", false, head('Z', 3), true},
		{"a ready message of 1 MiB", false, head('Z', 1<<20), true},
		{"a parameter of 1 MiB", false, head('S', 1<<20), true},
		{"a row of 1 GiB", false, head('D', 1<<30), false},
		{"a notice of 1 MiB", false, head('N', 1<<20), false},
		{"a notification of 1 MiB", false, head('A', 1<<20), false},
		{"COPY data of 1 MiB", false, head('d', 1<<20), false},
		{"an error of 1 MiB", false, head('E', 1<<20), false},
		{"the types of 65,535 parameters", false, head('t', 4+2+4*65_535), false},
	} {
		verb := "passes"
		if c.refused {
			verb = "is refused"
		}
		t.Run(c.name+" "+verb, func(t *testing.T) {
			r, w := tapped(t, bytes.NewReader(c.says), io.Discard)
			if c.login {
				_, err := w.Write(startup())
				check.OK(t, err)
			}
			passed, err := io.ReadAll(r)
			check.Equal(t, errors.Is(err, wire.ErrProtocol), c.refused)
			check.Equal(t, len(passed) > 0, !c.refused)
		})
	}
	t.Run("only the bytes before a refused message are passed on", func(t *testing.T) {
		good := said(&pgproto3.CommandComplete{CommandTag: []byte("SET")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
		for _, read := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader,
			func(r io.Reader) io.Reader { return r }} {
			r, _ := tapped(t, read(io.MultiReader(bytes.NewReader(append(bytes.Clone(good), head('Z', 1<<20)...)),
				bytes.NewReader(good))), io.Discard)
			passed, err := io.ReadAll(r)
			check.Equal(t, errors.Is(err, wire.ErrProtocol), true)
			check.Equal(t, bytes.HasPrefix(passed, good) && len(passed) < len(good)+5, true)
			_, err = r.Read(make([]byte, 100))
			check.Equal(t, errors.Is(err, wire.ErrProtocol), true)
		}
	})
}

func TestTheServerOwesAnAnswer(t *testing.T) {
	parse, bind, execute := &pgproto3.Parse{Query: "select 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}
	sync, query := &pgproto3.Sync{}, &pgproto3.Query{String: "select 1"}
	ready := &pgproto3.ReadyForQuery{TxStatus: 'I'}
	for name, steps := range map[string][]struct {
		asks []pgproto3.FrontendMessage
		says []pgproto3.BackendMessage
		owes bool
	}{
		"until the end of a query's answer": {
			{asks: []pgproto3.FrontendMessage{query}, owes: true},
			{says: []pgproto3.BackendMessage{ready}},
		},
		"until the real end of an answer whose data look like the end": {
			{asks: []pgproto3.FrontendMessage{query}, owes: true},
			{says: []pgproto3.BackendMessage{&pgproto3.CopyData{Data: said(ready)}}, owes: true},
			{says: []pgproto3.BackendMessage{ready}},
		},
		"until the end that a notice and a notification follow": {
			{asks: []pgproto3.FrontendMessage{query}, owes: true},
			{says: []pgproto3.BackendMessage{ready, notice("NOTICE", "00000"), &pgproto3.NotificationResponse{Channel: "c"}}},
		},
		"until the end of the last answer of a pipeline": {
			{asks: []pgproto3.FrontendMessage{parse, bind, execute, sync, bind, execute, sync}, owes: true},
			{says: []pgproto3.BackendMessage{ready}, owes: true},
			{says: []pgproto3.BackendMessage{ready}},
		},
		"until the end of a pipeline that is flushed before it is synced": {
			{asks: []pgproto3.FrontendMessage{parse, bind, execute, &pgproto3.Flush{}}, owes: true},
			{says: []pgproto3.BackendMessage{&pgproto3.ParseComplete{}}, owes: true},
			{asks: []pgproto3.FrontendMessage{sync}, owes: true},
			{says: []pgproto3.BackendMessage{ready}},
		},
		"until the end of a pipeline that has an error": {
			{asks: []pgproto3.FrontendMessage{parse, bind, execute, bind, execute, sync, bind, execute, sync}, owes: true},
			{says: []pgproto3.BackendMessage{fatal("42601"), ready}, owes: true},
			{says: []pgproto3.BackendMessage{&pgproto3.BindComplete{}, ready}},
		},
		"until the end of a COPY, whose data ask for no answer": {
			{asks: []pgproto3.FrontendMessage{query}, owes: true},
			{says: []pgproto3.BackendMessage{&pgproto3.CopyInResponse{}}, owes: true},
			{asks: []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyDone{}}, owes: true},
			{says: []pgproto3.BackendMessage{ready}},
		},
		"until the end of a query after an unseen batch": {
			{says: []pgproto3.BackendMessage{&pgproto3.BindComplete{}, ready}},
			{asks: []pgproto3.FrontendMessage{query}, owes: true},
			{says: []pgproto3.BackendMessage{ready}},
		},
		"not before a request, though a setting changes": {
			{says: []pgproto3.BackendMessage{&pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"}}},
		},
		"not after Terminate": {
			{asks: []pgproto3.FrontendMessage{&pgproto3.Terminate{}}},
		},
	} {
		t.Run("the server owes an answer: "+name, func(t *testing.T) {
			for _, piece := range []int{1, 7, 1 << 10} {
				conn, server := dial(t, piece)
				go func() { _, _ = io.Copy(io.Discard, server) }()
				check.Equal(t, wire.Of(conn).Owes(), false)
				for _, step := range steps {
					for _, message := range step.asks {
						conn.Frontend().Send(message)
					}
					check.OK(t, conn.Frontend().Flush())
					go func() { _, _ = server.Write(said(step.says...)) }()
					for range step.says {
						_, err := conn.Frontend().Receive()
						check.OK(t, err)
					}
					check.Equal(t, wire.Of(conn).Owes(), step.owes)
				}
			}
		})
	}
	t.Run("a nil Wire knows nothing", func(t *testing.T) {
		var none *wire.Wire
		none.Start()
		none.Forget()
		check.Equal(t, none.Owes() || none.NeverBegan(nil) || none.Err() != nil || none.OnSent(nil) != wire.Idle, false)
	})
}

func TestARealServerKeepsToTheProtocol(t *testing.T) {
	conn := watched(t, pgtest.Shared(t).URI("postgres"))
	w := wire.Of(conn)
	for _, sql := range []string{
		"select", "select 1", "select 1, 2; select 3; set timezone = 'UTC'", "-- nothing",
		"do $$ begin for i in 1..1000 loop raise notice 'n'; end loop; end $$", "listen c; notify c; unlisten c",
		"create temp table a (n int, m int)", "insert into a select n, n from generate_series(1, 10000) n returning n, m",
		"copy a to stdout", "values (1, 2), (3, 4)", "explain select 1",
	} {
		if err := conn.Exec(t.Context(), sql).Close(); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		check.Equal(t, w.Owes(), false)
	}
	d, err := conn.Prepare(t.Context(), "s", "select n, m from a", nil)
	check.OK(t, err)
	for range 2 {
		result := conn.ExecStatement(t.Context(), d, nil, nil, nil).Read()
		check.OK(t, result.Err)
		check.Equal(t, len(result.Rows), 10_000)
		check.OK(t, conn.ExecPrepared(t.Context(), "s", nil, nil, nil).Read().Err)
	}
	check.OK(t, conn.Exec(t.Context(), "alter table a drop column m").Close())
	if err := conn.ExecStatement(t.Context(), d, nil, nil, nil).Read().Err; err == nil || errors.Is(err,
		wire.ErrProtocol) {
		t.Errorf("a statement whose result type changed: %v", err)
	}
	batch := &pgconn.Batch{}
	batch.ExecParams("select 1, 2, 3", nil, nil, nil, nil)
	batch.ExecParams("select 1", nil, nil, nil, nil)
	_, err = conn.ExecBatch(t.Context(), batch).ReadAll()
	check.OK(t, err)
	check.Equal(t, w.Owes(), false)
	check.OK(t, extended(t.Context(), conn))
	check.Equal(t, w.Owes(), false)
}
