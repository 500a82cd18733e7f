package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

func TestReveals(t *testing.T) {
	for _, tt := range []struct {
		name         string
		text, secret string
		public       []string
		want         bool
	}{
		{"four characters of a secret reveal it", "it was cdef", "abcdefgh", nil, true},
		{"three characters of a secret do not reveal it", "it was cde", "abcdefgh", nil, false},
		{"the last four characters of a secret reveal it", "efgh", "abcdefgh", nil, true},
		{"a short secret is not revealed by itself", "abc", "abc", nil, false},
		{"a public text does not reveal a secret", "user abcd", "abcd", []string{"abcd"}, false},
		{"the rest of a secret beside a public text reveals it", "user abcd bcde", "abcde", []string{"abcd"}, true},
		{"three characters of two bytes do not reveal a secret", "äöü", "äöü", nil, false},
		{"four characters of two bytes reveal a secret", "xäöüßx", "äöüß", nil, true},
		{"an empty secret is never revealed", "anything", "", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := reveals(tt.text, tt.secret, tt.public...); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestErrorReveals(t *testing.T) {
	t.Run("a port that looks like a part of the password reveals nothing", func(t *testing.T) {
		if errorReveals(errors.New("dial 127.0.0.1:45268: refused"), "y5268z") {
			t.Error("the port was taken for a part of the password")
		}
	})
	t.Run("the password in a field that Error does not show is found", func(t *testing.T) {
		if !errorReveals(&net.AddrError{Err: "refused", Addr: "y5268z"}, "y5268z") {
			t.Error("the password was not found")
		}
	})
}

func TestAuthReader(t *testing.T) {
	scram := &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}}
	for _, tt := range []struct {
		name       string
		messages   []pgproto3.BackendMessage
		requests   []uint32
		mechanisms []string
	}{
		{"a server with trust requests nothing", []pgproto3.BackendMessage{&pgproto3.AuthenticationOk{}}, []uint32{authOK},
			nil},
		{"a request for MD5 is read",
			[]pgproto3.BackendMessage{&pgproto3.AuthenticationMD5Password{}, &pgproto3.AuthenticationOk{}},
			[]uint32{authMD5, authOK}, nil},
		{"a request for SCRAM is read with its mechanisms", []pgproto3.BackendMessage{scram, &pgproto3.AuthenticationOk{}},
			[]uint32{authSASL, authOK},
			[]string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}},
		{"an error before any request is no request", []pgproto3.BackendMessage{&pgproto3.ErrorResponse{Code: "28000"}}, nil,
			nil},
		{"rows that look like requests are not read", []pgproto3.BackendMessage{&pgproto3.AuthenticationOk{},
			&pgproto3.ReadyForQuery{TxStatus: 'I'}, &pgproto3.AuthenticationCleartextPassword{}}, []uint32{authOK}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var wire []byte
			for _, m := range tt.messages {
				var err error
				if wire, err = m.Encode(wire); err != nil {
					t.Fatal(err)
				}
			}
			for _, r := range []io.Reader{bytes.NewReader(wire), iotest.OneByteReader(bytes.NewReader(wire))} {
				a := &authReader{from: r}
				passed, err := io.ReadAll(a)
				if err != nil || !bytes.Equal(passed, wire) {
					t.Fatalf("the bytes were changed, error %v", err)
				}
				if !slices.Equal(a.requests, tt.requests) || !slices.Equal(a.mechanisms, tt.mechanisms) {
					t.Errorf("got %v %v", a.requests, a.mechanisms)
				}
			}
		})
	}
}

func TestJudgePool(t *testing.T) {
	free := limits{max: 100, reserved: 3, used: 7, roleLimit: -1, baseLimit: -1}
	with := func(change func(*limits)) limits { l := free; change(&l); return l }
	for _, tt := range []struct {
		name   string
		limit  int
		l      limits
		status Status
		detail string
	}{
		{"a pool that fits is ok", 50, free, StatusOK, "at most 50 connections, and there is room for 90"},
		{"a pool that just fits is ok", 90, free, StatusOK, "room for 90"},
		{"a pool that does not fit gets a warning", 91, free, StatusWarning,
			"may open 91 connections, and there is room for 90"},
		{"a pool without a cap is ok", 0, free, StatusOK, "has no cap"},
		{"a full server gets a warning", 0, with(func(l *limits) { l.used = 97 }), StatusWarning, "no room"},
		{"the role's limit counts", 50, with(func(l *limits) { l.roleLimit, l.roleUsed = 30, 5 }), StatusWarning,
			"room for 25: the limit is the role's"},
		{"the database's limit counts", 50, with(func(l *limits) { l.baseLimit = 20 }), StatusWarning,
			"room for 20: the limit is the database's"},
		{"the limits do not count for superusers", 50,
			with(func(l *limits) { l.roleLimit, l.baseLimit, l.superuser = 1, 1, true }), StatusOK, "room for 90"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := judgePool(tt.limit, tt.l)
			if r.Status != tt.status || !strings.Contains(r.Detail, tt.detail) {
				t.Errorf("got %s: %s", r.Status, r.Detail)
			}
		})
	}
}

func TestWithoutTLS(t *testing.T) {
	for _, tt := range []struct {
		name string
		addr net.Addr
		want Status
	}{
		{"a unix socket needs no TLS", &net.UnixAddr{Name: "/tmp/.s.PGSQL.5432", Net: "unix"}, StatusOK},
		{"a loopback address needs no TLS", &net.TCPAddr{IP: net.IPv6loopback}, StatusOK},
		{"another machine needs TLS", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, StatusWarning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r := withoutTLS(tt.addr, "prefer"); r.Status != tt.want {
				t.Errorf("got %s: %s", r.Status, r.Detail)
			}
		})
	}
}

func TestStyle(t *testing.T) {
	t.Run("a file gets no style", func(t *testing.T) {
		f, err := os.Create(t.TempDir() + "/out")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if s := styleOf(f); s != (style{}) {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("NO_COLOR is honoured on a terminal", func(t *testing.T) {
		terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
		if err != nil {
			t.Skip("this system has no pseudo-terminals:", err)
		}
		defer terminal.Close()
		t.Setenv("TERM", "xterm")
		t.Setenv("NO_COLOR", "")
		if !styleOf(terminal).color {
			t.Error("no colours on a terminal")
		}
		t.Setenv("NO_COLOR", "1")
		if styleOf(terminal).color {
			t.Error("colours in spite of NO_COLOR")
		}
	})
}

func TestWriteText(t *testing.T) {
	r := newReport()
	r.URI = "postgres://lwe-admin:***@a-host-with-a-long-name.example.com:41234/ai_workflow_engine?sslmode=require&" +
		"application_name=x"
	long := strings.Repeat("word ", 40)
	r.add(check{id: "a", title: "a check"}, Result{Status: StatusWarning, Detail: long, Notes: []string{long}},
		time.Second)
	r.add(check{id: "b", title: "another | check"}, ok("line\nbreaks and \x1b[2J escapes"), time.Second)
	for _, s := range []style{{width: 80}, {width: 80, color: true}, {width: 120, color: true}} {
		var b strings.Builder
		if err := r.writeText(&b, s); err != nil {
			t.Fatal(err)
		}
		plain := b.String()
		for _, sgr := range []string{bold, faint, red, green, yellow, "0"} {
			plain = strings.ReplaceAll(plain, "\x1b["+sgr+"m", "")
		}
		if (plain == b.String()) == s.color {
			t.Errorf("%+v: colours are wrong:\n%q", s, b.String())
		}
		if strings.Contains(plain, "\x1b") {
			t.Errorf("%+v: an escape sequence came through:\n%q", s, plain)
		}
		for line := range strings.Lines(plain) {
			if line = strings.TrimSuffix(line, "\n"); len(line) > s.width {
				t.Errorf("%+v: %d columns: %q", s, len(line), line)
			}
		}
		mustContain(t, plain, "  postgres://lwe-admin:***@", "\n  ")
	}
}
