package wire_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/wire"
)

func describes(fields int) *pgproto3.RowDescription {
	d := &pgproto3.RowDescription{}
	for i := range fields {
		d.Fields = append(d.Fields, pgproto3.FieldDescription{Name: fmt.Append(nil, "c", i), DataTypeOID: 25,
			DataTypeSize: -1, TypeModifier: -1})
	}
	return d
}

func row(fields int) *pgproto3.DataRow {
	r := &pgproto3.DataRow{}
	for range fields {
		r.Values = append(r.Values, []byte("v"))
	}
	return r
}

type answer = []pgproto3.BackendMessage

// The answer to each request of a statement, but for ReadyForQuery.
var hostile = map[string]struct {
	mode    string // pgx's default_query_exec_mode
	answers []answer
}{
	"more fields than were prepared": {"cache_statement", []answer{
		{&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, describes(1)},
		{&pgproto3.BindComplete{}, row(2), complete()},
	}},
	"fewer fields than were prepared": {"cache_statement", []answer{
		{&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, describes(2)},
		{&pgproto3.BindComplete{}, row(1), complete()},
	}},
	"more fields than the row before": {"cache_statement", []answer{
		{&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, describes(1)},
		{&pgproto3.BindComplete{}, row(1), row(2), complete()},
	}},
	"no fields where a field was prepared": {"cache_statement", []answer{
		{&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, describes(1)},
		{&pgproto3.BindComplete{}, row(1), row(0), complete()},
	}},
	"fields and no description of them": {"cache_statement", []answer{
		{&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, &pgproto3.NoData{}},
		{&pgproto3.BindComplete{}, row(1), complete()},
	}},
	"fields and no description, neither before nor now": {"cache_statement", []answer{
		{&pgproto3.ParseComplete{}},
		{&pgproto3.BindComplete{}, row(1), complete()},
	}},
	"more fields than were prepared without the parameters": {"cache_statement", []answer{
		{&pgproto3.ParseComplete{}, describes(1)},
		{&pgproto3.BindComplete{}, row(2), complete()},
	}},
	"more fields than the second of two descriptions": {"cache_statement", []answer{
		{&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, describes(2), describes(1)},
		{&pgproto3.BindComplete{}, row(2), complete()},
	}},
	"another description among its rows": {"cache_statement", []answer{
		{&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, describes(1)},
		{&pgproto3.BindComplete{}, row(1), describes(2), row(2), complete()},
	}},
	"more fields than the cached description": {"cache_describe", []answer{
		{&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, describes(1)},
		{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, describes(1), row(2), complete()},
	}},
	"more fields than the portal's description": {"exec", []answer{
		{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, describes(1), row(2), complete()},
	}},
	"more fields than a simple query's description":  {"simple_protocol", []answer{{describes(1), row(2), complete()}}},
	"fewer fields than a simple query's description": {"simple_protocol", []answer{{describes(2), row(1), complete()}}},
	"another description among a simple query's rows": {"simple_protocol", []answer{{describes(1), row(1),
		describes(2), row(2), complete()}}},
}

func complete() *pgproto3.CommandComplete {
	return &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}
}

func TestRows(t *testing.T) {
	for name, c := range hostile {
		t.Run("stdlib's rows end with ErrProtocol when a row has "+name, func(t *testing.T) {
			config := answering(t, c.mode, c.answers)
			db := stdlib.OpenDB(*config)
			defer db.Close()
			err := readSQL(t.Context(), db)
			check.Equal(t, errors.Is(err, wire.ErrProtocol), true)
		})
		t.Run("pgx's rows end with ErrProtocol when a row has "+name, func(t *testing.T) {
			conn, err := pgx.ConnectConfig(t.Context(), answering(t, c.mode, c.answers))
			check.OK(t, err)
			rows, err := conn.Query(t.Context(), "select c")
			if err == nil {
				for rows.Next() {
					_, _ = rows.Values()
				}
				err = rows.Err()
			}
			check.Equal(t, errors.Is(err, wire.ErrProtocol), true)
			check.Equal(t, conn.IsClosed(), true)
			check.Equal(t, errors.Is(wire.Of(conn.PgConn()).Err(), wire.ErrProtocol), true)
			<-conn.PgConn().CleanupDone()
		})
	}
	t.Run("rows of several results in one answer are as each is described", func(t *testing.T) {
		config := answering(t, "simple_protocol", []answer{{describes(1), row(1), complete(), describes(2),
			row(2), complete()}})
		conn, err := pgx.ConnectConfig(t.Context(), config)
		check.OK(t, err)
		results, err := conn.PgConn().Exec(t.Context(), "select c; select c").ReadAll()
		check.OK(t, err)
		check.Equal(t, len(results), 2)
		check.OK(t, conn.Close(t.Context()))
	})
}

func readSQL(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "select c")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		columns, _ := rows.Columns()
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return err
		}
	}
	return rows.Err()
}

// answering returns what makes a connection to a server that gives these answers to requests.
func answering(t *testing.T, mode string, answers []answer) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig("host=127.0.0.1 user=u sslmode=disable default_query_exec_mode=" + mode)
	check.OK(t, err)
	near, far := net.Pipe()
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		if near == nil {
			return nil, errors.New("one connection is enough")
		}
		conn := near
		near = nil
		return conn, nil
	}
	wire.Watch(&config.Config)
	done := make(chan struct{})
	go func() {
		defer close(done)
		answerTo(far, said(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"},
			&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"}, &pgproto3.ReadyForQuery{TxStatus: 'I'}))
		for _, a := range answers {
			answerTo(far, said(append(a, &pgproto3.ReadyForQuery{TxStatus: 'I'})...))
		}
		answerTo(far, nil) // the goodbye
		_ = far.Close()
	}()
	t.Cleanup(func() {
		_ = far.Close()
		<-done
	})
	return config
}

func TestLogin(t *testing.T) {
	parameters := func(n int) (all answer) {
		for i := range n {
			all = append(all, &pgproto3.ParameterStatus{Name: fmt.Sprint("p", i), Value: "v"})
		}
		return append(all, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
	long := &pgproto3.NoticeResponse{Message: strings.Repeat("x", 29_000)}
	notices := make(answer, 40)
	for i := range notices {
		notices[i] = long
	}
	for name, c := range map[string]struct {
		says    []byte
		refused bool
	}{
		"a message of 1 GiB":             {head('S', 1<<30), true},
		"200 parameters":                 {said(parameters(200)...), false},
		"201 parameters":                 {said(parameters(201)...), true},
		"more than 1 MiB":                {said(notices...), true},
		"some notices":                   {said(append(notices[:10:10], &pgproto3.ReadyForQuery{TxStatus: 'I'})...), false},
		"a parameter with a longer name": {said(&pgproto3.ParameterStatus{Name: strings.Repeat("x", 129), Value: "v"}), true},
		"one parameter again and again":  {said(append(repeated(1_000), &pgproto3.ReadyForQuery{TxStatus: 'I'})...), false},
	} {
		verb := "succeeds"
		if c.refused {
			verb = "ends with ErrProtocol"
		}
		t.Run("a login in which the server says "+name+" "+verb, func(t *testing.T) {
			config, err := pgconn.ParseConfig("host=127.0.0.1 user=u sslmode=disable")
			check.OK(t, err)
			near, far := net.Pipe()
			config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return near, nil }
			wire.Watch(config)
			done := make(chan struct{})
			go func() {
				defer close(done)
				answerTo(far, append(said(&pgproto3.AuthenticationOk{}), c.says...))
				_, _ = io.Copy(io.Discard, far)
				_ = far.Close()
			}()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			conn, err := pgconn.ConnectConfig(t.Context(), config)
			runtime.ReadMemStats(&after)
			check.Equal(t, errors.Is(err, wire.ErrProtocol), c.refused)
			check.Equal(t, err != nil, c.refused)
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 50<<20 {
				t.Errorf("the login took %d bytes of memory", allocated)
			}
			if conn != nil {
				check.OK(t, conn.Close(t.Context()))
			}
			<-done
		})
	}
}

func repeated(n int) (all answer) {
	for i := range n {
		all = append(all, &pgproto3.ParameterStatus{Name: "application_name", Value: fmt.Sprint(i)})
	}
	return all
}

// endless says the same again and again, and counts how much.
type endless struct {
	text []byte
	at   int
	said int
	most int // then it ends
}

func (e *endless) Read(p []byte) (int, error) {
	if e.said >= e.most {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) {
		k := copy(p[n:], e.text[e.at:])
		n, e.at = n+k, (e.at+k)%len(e.text)
	}
	e.said += n
	return n, nil
}

func TestFloods(t *testing.T) {
	query := asked(&pgproto3.Query{String: "select 1"})
	longNotice := said(&pgproto3.NoticeResponse{Message: strings.Repeat("x", 1<<20)})
	longPayload := said(&pgproto3.NotificationResponse{Channel: "c", Payload: strings.Repeat("x", 7_999)})
	for _, c := range []struct {
		name    string
		says    []byte
		asks    []byte
		most    int
		refused bool
	}{
		{"2 GiB of notices in one answer", longNotice, query, 2 << 30, true},
		{"500 MiB of notices in one answer", longNotice, query, 500 << 20, false},
		{"1 GiB of notifications in one answer", longPayload, query, 1 << 30, true},
		{"200 MiB of notifications in one answer", longPayload, query, 200 << 20, false},
		{"50 MiB of the shortest notifications in one answer", said(&pgproto3.NotificationResponse{}), query, 50 << 20, true},
		{"1 GiB of notifications while a caller waits for them", longPayload, nil, 1 << 30, false},
		{"2 GiB of notices in many answers", append(bytes.Clone(longNotice),
			said(&pgproto3.ReadyForQuery{TxStatus: 'I'})...), nil, 2 << 30, false},
	} {
		verb := "passes"
		if c.refused {
			verb = "is refused"
		}
		t.Run("a flood of "+c.name+" "+verb, func(t *testing.T) {
			r, w := tapped(t, &endless{text: c.says, most: c.most}, io.Discard)
			if c.asks != nil {
				_, err := w.Write(c.asks)
				check.OK(t, err)
			}
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 1<<20))
			check.Equal(t, errors.Is(err, wire.ErrProtocol), c.refused)
		})
	}
}

func TestABatchProvesNothing(t *testing.T) {
	t.Run("a batch, which pgconn writes past the Wire, may have begun", func(t *testing.T) {
		conn, server := dial(t, 1<<10)
		go func() {
			answerTo(server, nil)
			_ = server.Close()
		}()
		wire.Of(conn).Start()
		batch := &pgconn.Batch{}
		batch.ExecParams("select 1", nil, nil, nil, nil)
		_, err := conn.ExecBatch(t.Context(), batch).ReadAll()
		check.Equal(t, err != nil, true)
		check.Equal(t, wire.Of(conn).NeverBegan(err), false)
	})
	t.Run("a statement on a connection that was closed never began", func(t *testing.T) {
		conn, server := dial(t, 1<<10)
		check.OK(t, server.Close())
		check.OK(t, conn.Close(t.Context()))
		wire.Of(conn).Start()
		err := simple(t.Context(), conn)
		check.Equal(t, wire.Of(conn).NeverBegan(err), true)
	})
}

func TestOnSent(t *testing.T) {
	t.Run("OnSent is called once, when the next request is on its way", func(t *testing.T) {
		conn, server := dial(t, 1<<10)
		w := wire.Of(conn)
		calls := 0
		check.Equal(t, w.OnSent(func() { calls++ }), wire.Idle)
		for range 2 {
			go answerTo(server, said(&pgproto3.EmptyQueryResponse{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}))
			check.OK(t, simple(t.Context(), conn))
			check.Equal(t, calls, 1)
		}
	})
	t.Run("OnSent is not called after Forget, nor if the server owes an answer", func(t *testing.T) {
		conn, server := dial(t, 1<<10)
		w := wire.Of(conn)
		calls := 0
		check.Equal(t, w.OnSent(func() { calls++ }), wire.Idle)
		w.Forget()
		asked := make(chan struct{})
		go func() {
			_, _ = server.Read(make([]byte, 1<<10))
			pgtest.Eventually(t, "the write has returned", w.Owes)
			check.Equal(t, w.OnSent(func() { calls++ }), wire.Owing)
			close(asked)
			_, _ = server.Write(said(&pgproto3.EmptyQueryResponse{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}))
		}()
		check.OK(t, simple(t.Context(), conn))
		<-asked
		check.Equal(t, calls, 0)
	})
}
