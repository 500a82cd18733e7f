package wire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// last are what a server can say in the place of an answer, and what that proves of a request.
var last = []struct {
	name     string
	says     []byte
	extended bool // that a request of the extended protocol never began
}{
	{"the session's end", said(fatal("57P01")), true},
	{"a crash of the server's", said(fatal("57P02")), true},
	{"the session's end, translated", said(&pgproto3.ErrorResponse{Severity: "FATALE",
		SeverityUnlocalized: "FATAL", Code: "57P01"}), true},
	{"the session's end as a pooler says it", said(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01"}), true},
	{"a notice and the session's end", said(notice("WARNING", "01000"), fatal("57P01")), true},
	{"a setting that changed and the session's end", said(&pgproto3.ParameterStatus{Name: "TimeZone",
		Value: "UTC"}, fatal("57P01")), true},
	{"a notification and the session's end", said(&pgproto3.NotificationResponse{Channel: "c", Payload: "E"},
		fatal("57P01")), true},
	{"that it ends at once", said(notice("WARNING", "57P01")), true},
	{"that it ends at once, since another has crashed", said(notice("WARNING", "57P02")), true},
	{"nothing", nil, false},
	{"half of the session's end", said(fatal("57P01"))[:20], false},
	{"another fatal error", said(fatal("08P01")), false},
	{"an error with that code", said(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR",
		Code: "57P01"}), false},
	{"another warning", said(notice("WARNING", "01000")), false},
	{"that it ends at once, and then more", said(notice("WARNING", "57P01"), notice("NOTICE", "00000")), false},
	{"ParseComplete and the session's end", said(&pgproto3.ParseComplete{}, fatal("57P01")), true},
	{"what a statement is like and the session's end", said(&pgproto3.ParseComplete{},
		&pgproto3.ParameterDescription{ParameterOIDs: []uint32{23}},
		&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("c")}}}, fatal("57P01")), true},
	{"ParseComplete, BindComplete and the session's end", said(&pgproto3.ParseComplete{},
		&pgproto3.BindComplete{}, fatal("57P01")), false},
	{"BindComplete and the session's end", said(&pgproto3.BindComplete{}, fatal("57P01")), false},
	{"BindComplete and that it ends at once", said(&pgproto3.BindComplete{}, notice("WARNING", "57P01")), false},
	{"a notice, BindComplete and the session's end", said(notice("NOTICE", "00000"), &pgproto3.BindComplete{},
		fatal("57P01")), false},
	{"a message that is no message", []byte{'E', 0, 0, 0, 0}, false},
}

func fatal(code string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code,
		Message: "terminating connection"}
}

func notice(severity, code string) *pgproto3.NoticeResponse {
	return &pgproto3.NoticeResponse{Severity: severity, SeverityUnlocalized: severity, Code: code, Message: "FATAL 57P01"}
}

func said(messages ...pgproto3.BackendMessage) []byte {
	var all []byte
	for _, m := range messages {
		var err error
		if all, err = m.Encode(all); err != nil {
			panic(err) // none of them can fail
		}
	}
	return all
}

func TestARequestIsKnownNeverToHaveBegun(t *testing.T) {
	for _, c := range last {
		verdict := "may have begun"
		if c.extended {
			verdict = "never began"
		}
		t.Run("a statement of the extended protocol "+verdict+" when the server says "+c.name, func(t *testing.T) {
			for _, piece := range []int{1, 3, 7, 1 << 10} {
				check.Equal(t, ask(t, extended, c.says, piece), c.extended)
				check.Equal(t, ask(t, simple, c.says, piece), false)
			}
		})
	}

	t.Run("a request of which the network took nothing never began", func(t *testing.T) {
		for _, request := range []func(context.Context, *pgconn.PgConn) error{extended, simple} {
			conn, server := dial(t, 1<<10)
			check.OK(t, server.Close())
			err := request(t.Context(), conn)
			w := wire.Of(conn)
			check.Equal(t, w.NeverBegan(err), true)
			check.Equal(t, errors.Is(err, w.Err()), true)
		}
	})

	t.Run("a request of which the network took a part may have begun", func(t *testing.T) {
		conn, server := dial(t, 1<<10)
		go func() {
			_, _ = io.ReadFull(server, make([]byte, 5))
			_ = server.Close()
		}()
		err := extended(t.Context(), conn)
		check.Equal(t, err != nil, true)
		check.Equal(t, wire.Of(conn).NeverBegan(err), false)
	})

	t.Run("a request whose context ended may have begun", func(t *testing.T) {
		conn, server := dial(t, 1<<10)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			answerTo(server, said(notice("WARNING", "57P01")))
			cancel()
		}()
		err := extended(ctx, conn)
		check.Equal(t, errors.Is(err, context.Canceled), true)
		check.Equal(t, wire.Of(conn).NeverBegan(err), false)
	})

	t.Run("a request is judged by its own answer", func(t *testing.T) {
		conn, server := dial(t, 1)
		go func() {
			answerTo(server, said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{},
				&pgproto3.CommandComplete{CommandTag: []byte("SET")}, &pgproto3.ReadyForQuery{TxStatus: 'I'}))
			answerTo(server, said(fatal("57P01")))
			_ = server.Close()
		}()
		check.OK(t, extended(t.Context(), conn))
		err := extended(t.Context(), conn)
		check.Equal(t, err != nil, true)
		check.Equal(t, wire.Of(conn).NeverBegan(err), true)
	})

	t.Run("a request never began when the session's end came together with the answer before", func(t *testing.T) {
		for _, request := range []func(context.Context, *pgconn.PgConn) error{extended, simple} {
			conn, server := dial(t, 1<<10)
			go func() {
				answerTo(server, said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{},
					&pgproto3.CommandComplete{CommandTag: []byte("SET")}, &pgproto3.ReadyForQuery{TxStatus: 'I'}, fatal("57P01")))
				answerTo(server, nil)
			}()
			check.OK(t, extended(t.Context(), conn))
			err := request(t.Context(), conn)
			checkEnd(t, err)
			check.Equal(t, wire.Of(conn).NeverBegan(err), true)
		}
	})
}

func extended(ctx context.Context, conn *pgconn.PgConn) error {
	return conn.ExecParams(ctx, "select 1", nil, nil, nil, nil).Read().Err
}

func simple(ctx context.Context, conn *pgconn.PgConn) error {
	return conn.Exec(ctx, "select 1").Close()
}

// ask sends a request, lets the server say the given in pieces and hang up, and returns whether
// that proves that it never began.
func ask(t *testing.T, request func(context.Context, *pgconn.PgConn) error, says []byte, piece int) bool {
	t.Helper()
	conn, server := dial(t, piece)
	go func() {
		answerTo(server, says)
		_ = server.Close()
	}()
	err := request(t.Context(), conn)
	check.Equal(t, err != nil, true)
	<-conn.CleanupDone()
	return wire.Of(conn).NeverBegan(err)
}

// answerTo reads a request, which pgconn writes in one piece, and answers.
func answerTo(server net.Conn, says []byte) {
	_, _ = server.Read(make([]byte, 1<<10))
	_, _ = server.Write(says)
}

// torn gives what it reads in pieces of at most piece bytes.
type torn struct {
	net.Conn
	piece int
}

func (c torn) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), c.piece)]) }

// dial connects to a server of the test's own, whose end it returns.
func dial(t *testing.T, piece int) (*pgconn.PgConn, net.Conn) {
	t.Helper()
	config, err := pgconn.ParseConfig("host=127.0.0.1 user=u sslmode=disable")
	check.OK(t, err)
	near, far := net.Pipe()
	used := false
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		if used {
			return nil, errors.New("no cancel request here")
		}
		used = true
		return torn{near, piece}, nil
	}
	wire.Watch(config)
	go answerTo(far, said(&pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}))
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	check.OK(t, err)
	t.Cleanup(func() {
		_ = far.Close()
		_ = conn.Close(context.Background())
		<-conn.CleanupDone()
	})
	return conn, far
}

func TestARealServerSaysItInThatOrder(t *testing.T) {
	for name, uri := range map[string]string{"without TLS": pgtest.Shared(t).URI("postgres"),
		"with TLS": pgtest.SharedTLS(t).URI("postgres")} {
		cluster := pgtest.Shared(t)
		if name == "with TLS" {
			cluster = pgtest.SharedTLS(t)
		}
		admin := cluster.Admin(t)
		t.Run("a request never began in a session that was told to end before, "+name, func(t *testing.T) {
			conn := watched(t, uri)
			_, err := admin.Exec(t.Context(), "select pg_terminate_backend($1, 10000)", conn.PID())
			check.OK(t, err)
			err = extended(t.Context(), conn)
			checkEnd(t, err)
			check.Equal(t, wire.Of(conn).NeverBegan(err), true)
		})
		t.Run("a statement may have begun in a session that ends amidst it, "+name, func(t *testing.T) {
			conn := watched(t, uri)
			done := make(chan error, 1)
			go func() {
				done <- conn.ExecParams(t.Context(), "select pg_sleep(600)", nil, nil, nil, nil).Read().Err
			}()
			pgtest.Eventually(t, "the statement runs", func() bool {
				var runs bool
				check.OK(t, admin.QueryRow(t.Context(),
					"select coalesce(wait_event, '') = 'PgSleep' from pg_stat_activity where pid = $1",
					conn.PID()).Scan(&runs))
				return runs
			})
			_, err := admin.Exec(t.Context(), "select pg_terminate_backend($1)", conn.PID())
			check.OK(t, err)
			err = <-done
			checkEnd(t, err)
			check.Equal(t, wire.Of(conn).NeverBegan(err), false)
		})
	}
}

func checkEnd(t *testing.T, err error) {
	t.Helper()
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "57P01" {
		t.Fatalf("the statement ended with %v", err)
	}
}

func watched(t *testing.T, uri string) *pgconn.PgConn {
	t.Helper()
	config, err := pgconn.ParseConfig(uri)
	check.OK(t, err)
	wire.Watch(config)
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	check.OK(t, err)
	t.Cleanup(func() {
		_ = conn.Close(context.Background())
		<-conn.CleanupDone()
	})
	return conn
}
