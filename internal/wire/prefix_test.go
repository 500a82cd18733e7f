package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/wire"
)

// prefixFor returns a Prefix that sets a setting for a transaction.
func prefixFor(t testing.TB, name, setting, value string) *wire.Prefix {
	t.Helper()
	p, err := wire.NewPrefix(name, "select set_config($1, $2, true)",
		[]uint32{pgtype.TextOID, pgtype.TextOID}, [][]byte{[]byte(setting), []byte(value)})
	check.OK(t, err)
	return p
}

// inMode connects to the shared server with a Wire.
func inMode(t testing.TB, mode string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(pgtest.Shared(t).URI("postgres") + "&default_query_exec_mode=" + mode)
	check.OK(t, err)
	wire.Watch(&config.Config)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, conn.Close(context.Background())) })
	return conn
}

const showA = "select coalesce(current_setting('app.a', true), ''), $1::text"

func valueOf(t testing.TB, conn *pgx.Conn) string {
	t.Helper()
	var got, arg string
	check.OK(t, conn.QueryRow(t.Context(), showA, "arg").Scan(&got, &arg))
	check.Equal(t, arg, "arg")
	return got
}

func TestPrefix(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec"} {
		t.Run("a prefix sets a setting for one statement in mode "+mode, func(t *testing.T) {
			conn := inMode(t, mode)
			w := wire.Of(conn.PgConn())
			for _, value := range []string{"1", "2", "2"} {
				w.Arm(prefixFor(t, "settings", "app.a", value))
				check.Equal(t, valueOf(t, conn), value)
				check.Equal(t, w.Applied(), true)
				w.Arm(nil)
				check.Equal(t, valueOf(t, conn), "")
			}
		})
	}
	for _, mode := range []string{"cache_statement", "cache_describe", "exec"} {
		t.Run("a prefix without a name sets a setting for one statement in mode "+mode, func(t *testing.T) {
			conn := inMode(t, mode)
			wire.Of(conn.PgConn()).Arm(prefixFor(t, "", "app.a", "1"))
			check.Equal(t, valueOf(t, conn), "1")
			check.Equal(t, valueOf(t, conn), "1")
			wire.Of(conn.PgConn()).Arm(nil)
			check.Equal(t, valueOf(t, conn), "")
		})
	}
	t.Run("a statement does not run if its prefix fails, and pgx gets no word of the server's", func(t *testing.T) {
		conn := inMode(t, "cache_statement")
		w := wire.Of(conn.PgConn())
		_, err := conn.Exec(t.Context(), "create temp table t (n int)")
		check.OK(t, err)
		w.Arm(prefixFor(t, "settings", "work_mem", "s3cret"))
		_, err = conn.Exec(t.Context(), "insert into t values ($1)", 1)
		w.Arm(nil)
		var pgErr *pgconn.PgError
		check.Equal(t, errors.As(err, &pgErr), true)
		check.Equal(t, pgErr.Code, "22023")
		check.Equal(t, strings.Contains(fmt.Sprintf("%v %+v", err, pgErr), "s3cret"), false)
		check.Equal(t, strings.Contains(w.Refusal().Message, "s3cret"), true)
		check.Equal(t, w.Applied(), false)
		var n int
		check.OK(t, conn.QueryRow(t.Context(), "select count(*) from t").Scan(&n))
		check.Equal(t, n, 0)
	})
	t.Run("a prefix that the server has forgotten is parsed again the next time", func(t *testing.T) {
		conn := inMode(t, "exec")
		w := wire.Of(conn.PgConn())
		p := prefixFor(t, "settings", "app.a", "1")
		w.Arm(p)
		valueOf(t, conn)
		w.Arm(nil)
		_, err := conn.Exec(t.Context(), "deallocate all")
		check.OK(t, err)
		w.Arm(p)
		_, err = conn.Exec(t.Context(), "select $1::int", 1)
		check.Equal(t, err != nil, true)
		check.Equal(t, w.Forgotten(), true)
		w.Arm(p)
		check.Equal(t, valueOf(t, conn), "1")
		check.Equal(t, w.Forgotten(), false)
	})
	t.Run("a prefix whose name the server knows already is not parsed the next time", func(t *testing.T) {
		conn := inMode(t, "exec")
		w := wire.Of(conn.PgConn())
		_, err := conn.Exec(t.Context(), "prepare settings (text, text) as select set_config($1, $2, true)")
		check.OK(t, err)
		p := prefixFor(t, "settings", "app.a", "1")
		w.Arm(p)
		_, err = conn.Exec(t.Context(), "select $1::int", 1)
		check.Equal(t, err != nil, true)
		check.Equal(t, w.Forgotten(), true)
		check.Equal(t, valueOf(t, conn), "1")
	})
	t.Run("a prefix that is cancelled is a cancelled statement", func(t *testing.T) {
		conn := inMode(t, "exec")
		p, err := wire.NewPrefix("", "select pg_cancel_backend(pg_backend_pid()), pg_sleep(60)", nil, nil)
		check.OK(t, err)
		wire.Of(conn.PgConn()).Arm(p)
		_, err = conn.Exec(t.Context(), "select $1::int", 1)
		var pgErr *pgconn.PgError
		check.Equal(t, errors.As(err, &pgErr), true)
		check.Equal(t, pgErr.Message, "canceling statement due to user request")
		check.Equal(t, wire.Of(conn.PgConn()).Refusal() == nil, true)
	})
	t.Run("a notice of a prefix reaches the application", func(t *testing.T) {
		config, err := pgx.ParseConfig(pgtest.Shared(t).URI("postgres"))
		check.OK(t, err)
		var notices []string
		config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Message) }
		wire.Watch(&config.Config)
		conn, err := pgx.ConnectConfig(t.Context(), config)
		check.OK(t, err)
		defer conn.Close(context.Background())
		_, err = conn.Exec(t.Context(), "create function pg_temp.says() returns text language plpgsql "+
			"as $$ begin raise notice 'hello'; return ''; end $$")
		check.OK(t, err)
		p, err := wire.NewPrefix("p", "select pg_temp.says()", nil, nil)
		check.OK(t, err)
		wire.Of(conn.PgConn()).Arm(p)
		check.Equal(t, valueOf(t, conn), "")
		check.Equal(t, slices.Contains(notices, "hello"), true)
	})
	t.Run("a simple query is not sent while a prefix is armed", func(t *testing.T) {
		conn, _ := dial(t, 1<<10)
		wire.Of(conn).Start()
		wire.Of(conn).Arm(prefixFor(t, "p", "app.a", "1"))
		err := simple(t.Context(), conn)
		check.Equal(t, err != nil, true)
		check.Equal(t, wire.Of(conn).NeverBegan(err), true)
	})
	t.Run("a prefix shows no argument", func(t *testing.T) {
		p := prefixFor(t, "p", "app.a", "s3cret")
		text := fmt.Sprintf("%s %v %+v %#v", p, p, p, p)
		check.Equal(t, strings.Contains(text, "s3cret") || strings.Contains(text, "115 51"), false)
	})
}

// The Prefix's answer and how the server ends in it, with what that proves of the statement.
func TestNeverBeganBehindAPrefix(t *testing.T) {
	prefix := said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, row(1), complete())
	last := said(fatal("57P01"))
	for _, c := range []struct {
		name  string
		says  []byte
		never bool
	}{
		{"in place of the prefix", last, true},
		{"amidst the prefix", append(said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}), last...), true},
		{"behind the prefix", append(bytes.Clone(prefix), last...), true},
		{"behind the prefix, with a warning", append(bytes.Clone(prefix), said(notice("WARNING", "57P02"))...), true},
		{"with a warning amidst the prefix", said(&pgproto3.ParseComplete{}, notice("WARNING", "57P02")), true},
		{"behind ParseComplete", append(append(bytes.Clone(prefix), said(&pgproto3.ParseComplete{})...), last...), true},
		{"behind BindComplete", append(append(bytes.Clone(prefix),
			said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{})...), last...), false},
		{"without a word", prefix, false},
		{"without a word amidst the prefix", prefix[:7], false},
		{"amidst a message behind a warning", append(said(notice("WARNING", "57P02")), prefix[:3]...), false},
	} {
		verdict := "may have begun"
		if c.never {
			verdict = "never began"
		}
		t.Run("a statement behind a prefix "+verdict+" when the server ends "+c.name, func(t *testing.T) {
			for _, piece := range []int{1, 3, 7, 1 << 10} {
				got := ask(t, func(ctx context.Context, conn *pgconn.PgConn) error {
					wire.Of(conn).Arm(prefixFor(t, "p", "app.a", "1"))
					return extended(ctx, conn)
				}, c.says, piece)
				check.Equal(t, got, c.never)
			}
		})
	}
}

func TestHostileAnswersAboutAPrefix(t *testing.T) {
	ready := said(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for name, says := range map[string][]byte{
		"a row in place of BindComplete": said(&pgproto3.ParseComplete{}, row(1)),
		"two rows":                       said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, row(1), row(1)),
		"no row":                         said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, complete()),
		"ReadyForQuery":                  ready,
		"a row of 1 MiB":                 append(said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}), head('D', 1<<20)...),
		"an error of 2 MiB":              head('E', 2<<20),
		"a message without a length":     head('1', 0),
	} {
		t.Run("an answer about a prefix with "+name+" is refused", func(t *testing.T) {
			for _, piece := range []int{1, 5, 1 << 10} {
				r, w, x := wire.Tap(&pieces{says, piece}, io.Discard)
				x.Arm(prefixFor(t, "p", "app.a", "1"))
				_, err := w.Write(asked(&pgproto3.Parse{Query: "q"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}))
				check.OK(t, err)
				_, err = io.ReadAll(r)
				check.Equal(t, errors.Is(err, wire.ErrProtocol), true)
			}
		})
	}
}

// FuzzPrefix says whatever it likes behind, before and amidst the answer about a Prefix. However
// the network tears it, the client gets the same: what is not about the Prefix.
func FuzzPrefix(f *testing.F) {
	about := said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, row(1), complete())
	f.Add([]byte{}, said(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, complete()), uint8(1))
	f.Add(said(notice("NOTICE", "00000")), []byte{}, uint8(3))
	f.Add(said(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "22023", Message: "m"}),
		said(&pgproto3.ReadyForQuery{TxStatus: 'I'}), uint8(2))
	f.Add(said(fatal("57P01")), []byte("x"), uint8(4))
	f.Fuzz(func(t *testing.T, before, behind []byte, piece uint8) {
		says := slices.Concat(before, about, behind)
		whole, wholeErr := heardBehind(t, says, len(says)+1)
		torn, tornErr := heardBehind(t, says, 1+int(piece))
		check.Equal(t, errors.Is(tornErr, wire.ErrProtocol), errors.Is(wholeErr, wire.ErrProtocol))
		check.Equal(t, bytes.HasPrefix(torn, whole), true)
		if len(before) == 0 {
			check.Equal(t, bytes.HasPrefix(behind, whole), true)
		}
		if len(before) == 0 && wholeErr == nil {
			check.Equal(t, bytes.Equal(behind, whole), true)
		}
	})
}

// heardBehind returns what comes through of what a server says in pieces about a statement with a
// Prefix.
func heardBehind(t *testing.T, says []byte, piece int) ([]byte, error) {
	r, w, x := wire.Tap(&pieces{says, piece}, io.Discard)
	x.Arm(prefixFor(t, "p", "app.a", "1"))
	_, err := w.Write(asked(&pgproto3.Parse{Query: "q"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}))
	check.OK(t, err)
	return io.ReadAll(r)
}

func TestWritingAPrefix(t *testing.T) {
	request := asked(&pgproto3.Parse{Query: "q"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	t.Run("a prefix and its statement are one write", func(t *testing.T) {
		var to counter
		_, w, x := wire.Tap(strings.NewReader(""), &to)
		x.Arm(prefixFor(t, "p", "app.a", "1"))
		n, err := w.Write(request)
		check.OK(t, err)
		check.Equal(t, n, len(request))
		check.Equal(t, to.writes, 1)
	})
	t.Run("a request that closes a statement has no prefix", func(t *testing.T) {
		var to counter
		_, w, x := wire.Tap(strings.NewReader(""), &to)
		x.Arm(prefixFor(t, "p", "app.a", "1"))
		closing := asked(&pgproto3.Close{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{})
		_, err := w.Write(closing)
		check.OK(t, err)
		check.Equal(t, to.bytes, len(closing))
	})
	t.Run("a request that a prefix cannot precede as a whole is not sent while one is armed", func(t *testing.T) {
		for _, messages := range [][]pgproto3.FrontendMessage{
			{&pgproto3.Query{String: "q"}},
			{&pgproto3.FunctionCall{}},
			{&pgproto3.Bind{}, &pgproto3.Execute{}},
			{&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}},
			{&pgproto3.Close{ObjectType: 'S'}, &pgproto3.Sync{}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Query{}},
			{&pgproto3.Parse{}, &pgproto3.Sync{}, &pgproto3.Query{String: "q"}},
			{&pgproto3.Close{ObjectType: 'S'}, &pgproto3.Sync{}, &pgproto3.Bind{}, &pgproto3.Execute{}},
		} {
			var to counter
			_, w, x := wire.Tap(strings.NewReader(""), &to)
			x.Start()
			x.Arm(prefixFor(t, "p", "app.a", "1"))
			_, err := w.Write(asked(messages...))
			check.Equal(t, err != nil, true)
			check.Equal(t, to.writes, 0)
			check.Equal(t, x.NeverBegan(err), true)
		}
	})
	t.Run("a statement of which the network took only the prefix never began", func(t *testing.T) {
		to := counter{most: 20}
		_, w, x := wire.Tap(strings.NewReader(""), &to)
		x.Start()
		x.Arm(prefixFor(t, "p", "app.a", "1"))
		n, err := w.Write(request)
		check.Equal(t, n, 0)
		check.Equal(t, x.NeverBegan(err), true)
	})
	t.Run("a request amidst another one is not sent while a prefix is armed", func(t *testing.T) {
		var to counter
		_, w, x := wire.Tap(strings.NewReader(""), &to)
		_, err := w.Write(request)
		check.OK(t, err)
		x.Arm(prefixFor(t, "p", "app.a", "1"))
		_, err = w.Write(request)
		check.Equal(t, err != nil, true)
		check.Equal(t, to.writes, 1)
	})
}

// counter counts what is written to it, and takes no more than most if that is not zero.
type counter struct{ writes, bytes, most int }

func (c *counter) Write(p []byte) (int, error) {
	c.writes++
	if c.most > 0 && len(p) > c.most {
		return c.most, io.ErrShortWrite
	}
	c.bytes += len(p)
	return len(p), nil
}
