package pgserver_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestServer(t *testing.T) {
	t.Run("a server accepts connections on TCP and on the unix socket", func(t *testing.T) {
		s := start(t, pgserver.Options{})
		uris := map[string]string{"TCP": s.URI(""), "the unix socket": s.SocketURI("")}
		if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
			l.Close()
			uris["::1"] = fmt.Sprintf("postgres://postgres@[::1]:%d/postgres?sslmode=disable", s.Port())
		}
		for name, uri := range uris {
			if got := ask[string](t, uri, "SELECT current_user::text"); got != "postgres" {
				t.Errorf("over %s we are %q", name, got)
			}
		}
	})

	t.Run("a server has the given superuser, password and database, whatever they look like", func(t *testing.T) {
		s := start(t, pgserver.Options{
			Auth: pgserver.SCRAM, User: `Üser x; é`, Password: "a'b\\c[d]\"e\nf;\n\ng@/?#%&:ö", Database: `d b"'\/ü`,
		})
		for _, uri := range []string{s.URI(""), s.SocketURI("")} {
			if got := ask[string](t, uri, "SELECT current_user || '|' || current_database()"); got != s.User()+`|d b"'\/ü` {
				t.Errorf("%s", got)
			}
		}
		if ask[bool](t, s.URI(""), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") != true {
			t.Error("the user is no superuser")
		}
		wrong := strings.Replace(s.URI("postgres"), "a%27b", "wrong", 1)
		if _, err := tryAsk[int](t, wrong, "SELECT 1"); sqlState(err) != "28P01" {
			t.Errorf("with a wrong password: %v", err)
		}
	})

	t.Run("a server restarts on its port with its data", func(t *testing.T) {
		s := start(t, pgserver.Options{})
		uri, pid := s.URI(""), s.Pid()
		run(t, uri, "CREATE TABLE kept AS SELECT 42 AS n")
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.URI("") != uri || s.Pid() == pid {
			t.Errorf("the URI was %s and is %s, the process was %d and is %d", uri, s.URI(""), pid, s.Pid())
		}
		if got := ask[int](t, uri, "SELECT n FROM kept"); got != 42 {
			t.Errorf("n = %d", got)
		}
	})

	t.Run("a server is down between Halt and Restart, and its clients learn why", func(t *testing.T) {
		s := start(t, pgserver.Options{})
		conn, err := pgx.Connect(t.Context(), s.URI(""))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		if err := s.Halt(pgserver.Fast); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "SELECT 1"); sqlState(err) != "57P01" {
			t.Errorf("an open connection got %v", err)
		}
		if _, err := tryAsk[int](t, s.URI(""), "SELECT 1"); err == nil || s.Pid() != 0 {
			t.Errorf("a connection was made (%v) to a server that is down, pid %d", err, s.Pid())
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		ask[int](t, s.URI(""), "SELECT 1")
	})

	t.Run("Kill ends a server with its busy backends, and Restart starts it again", func(t *testing.T) {
		s := start(t, pgserver.Options{})
		busy := make(chan error, 1)
		// No interrupt is looked for in this statement: such a backend does not notice the loss of its postmaster.
		conn, err := pgx.Connect(t.Context(), s.SocketURI(""))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		go func() {
			_, err := conn.Exec(context.WithoutCancel(t.Context()), "SELECT count(*) FROM generate_series(1, 2000000000)")
			busy <- err
		}()
		pgtest.Eventually(t, "the statement runs", func() bool {
			return ask[int](t, s.URI(""), "SELECT count(*)::int FROM pg_stat_activity WHERE state = 'active' "+
				"AND query LIKE '%generate_series%' AND pid <> pg_backend_pid()") == 1
		})
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-busy; err == nil || sqlState(err) != "" {
			t.Errorf("the busy connection got %v, want a broken connection", err)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		ask[int](t, s.URI(""), "SELECT 1")
	})

	t.Run("a paused server answers no new client", func(t *testing.T) {
		s := start(t, pgserver.Options{})
		conn, err := pgx.Connect(t.Context(), s.URI(""))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
			t.Errorf("an open connection got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if c, err := pgx.Connect(ctx, s.URI("")); !errors.Is(err, context.DeadlineExceeded) {
			if err == nil {
				c.Close(context.WithoutCancel(t.Context()))
			}
			t.Errorf("a new connection got %v", err)
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		ask[int](t, s.URI(""), "SELECT 1")
	})

	t.Run("a frozen server answers no client, and then resumes where it was", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("Freeze works on Linux")
		}
		s := start(t, pgserver.Options{})
		conn, err := pgx.Connect(t.Context(), s.URI(""))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		if err := s.Freeze(); err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() {
			_, err := conn.Exec(context.WithoutCancel(t.Context()), "SELECT 1")
			answered <- err
		}()
		select {
		case err := <-answered:
			t.Errorf("it answered: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		if err := s.Thaw(); err != nil {
			t.Fatal(err)
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		ask[int](t, s.URI(""), "SELECT 1")
	})

	t.Run("a paused server can be stopped", func(t *testing.T) {
		s := start(t, pgserver.Options{})
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(pgserver.Fast); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(s.Log(), "immediate shutdown") {
			t.Error("it did not obey the first time")
		}
	})

	t.Run("new connections see the settings that Reload read", func(t *testing.T) {
		s := start(t, pgserver.Options{})
		hba := filepath.Join(s.DataDir(), "pg_hba.conf")
		if err := os.WriteFile(hba, []byte("host all all all reject\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := tryAsk[int](t, s.URI(""), "SELECT 1"); sqlState(err) != "28000" {
			t.Errorf("after the reload: %v", err)
		}
	})

	t.Run("a stopped server leaves no files or processes, and can be stopped again", func(t *testing.T) {
		for _, mode := range []pgserver.Mode{pgserver.Fast, pgserver.Immediate} {
			s := start(t, pgserver.Options{})
			base := filepath.Dir(s.DataDir())
			for range 2 {
				if err := s.Stop(mode); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(base); !os.IsNotExist(err) {
				t.Errorf("%s is still there (%v)", base, err)
			}
			for name, got := range map[string]error{
				"Restart": s.Restart(t.Context()), "Reload": s.Reload(t.Context()), "Promote": s.Promote(t.Context()),
				"Halt": s.Halt(pgserver.Fast), "Kill": s.Kill(), "Pause": s.Pause(), "Resume": s.Resume(), "Freeze": s.Freeze(),
				"Thaw": s.Thaw(),
			} {
				if !errors.Is(got, pgserver.ErrStopped) {
					t.Errorf("%s of a stopped server = %v", name, got)
				}
			}
		}
	})

	t.Run("a server shows each line of its log", func(t *testing.T) {
		lines := make(chan string, 10_000)
		s := start(t, pgserver.Options{OnLog: func(line string) { lines <- line }})
		run(t, s.URI(""), `DO $$ BEGIN RAISE LOG 'here is a marker'; END $$`)
		if err := s.Halt(pgserver.Immediate); err != nil {
			t.Fatal(err)
		}
		close(lines)
		var found bool
		for line := range lines {
			found = found || strings.HasSuffix(line, "here is a marker")
		}
		if !found || !strings.Contains(s.Log(), "here is a marker\n") {
			t.Errorf("OnLog had it: %v; the log is\n%s", found, s.Log())
		}
	})
}

func TestFailedStart(t *testing.T) {
	t.Run("a failed start shows the end of the server's log", func(t *testing.T) {
		t.Setenv("TMPDIR", reachableDir(t))
		_, err := pgserver.Start(t.Context(), pgserver.Options{Settings: map[string]string{"shared_buffers": "nonsense"}})
		if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers": "nonsense"`) {
			t.Errorf("Start = %v", err)
		}
		nothingIn(t, os.TempDir())
	})

	t.Run("a failed start shows the output of initdb", func(t *testing.T) {
		t.Setenv("TMPDIR", reachableDir(t))
		_, err := pgserver.Start(t.Context(), pgserver.Options{User: "pg_me"})
		if err == nil || !strings.Contains(err.Error(), `"pg_me" is disallowed`) {
			t.Errorf("Start = %v", err)
		}
		nothingIn(t, os.TempDir())
	})

	t.Run("a start ends with its context", func(t *testing.T) {
		t.Setenv("TMPDIR", reachableDir(t))
		for _, timeout := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			_, err := pgserver.Start(ctx, pgserver.Options{Database: "x"})
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Start = %v", err)
			}
		}
		nothingIn(t, os.TempDir())
	})

	t.Run("a start fails if the server is never ready", func(t *testing.T) {
		t.Setenv("TMPDIR", reachableDir(t))
		t.Setenv("XDG_CACHE_HOME", t.TempDir())
		b := find(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		b.Dir = fake(t, b, "echo waiting for nothing; exec sleep 1000")
		_, err := pgserver.Start(ctx, pgserver.Options{Binaries: b, OnLog: func(string) { cancel() }})
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "waiting for nothing") {
			t.Errorf("Start = %v", err)
		}
		nothingIn(t, os.TempDir())
	})

	t.Run("a start tries another port when its own is taken, and fails when all are", func(t *testing.T) {
		t.Setenv("TMPDIR", reachableDir(t))
		t.Setenv("XDG_CACHE_HOME", t.TempDir())
		b := find(t)
		b.Dir = fake(t, b, `echo 'LOG:  could not bind IPv4 address "127.0.0.1": Address already in use'; exec sleep 1000`)
		var tries int
		_, err := pgserver.Start(t.Context(), pgserver.Options{Binaries: b, OnLog: func(string) { tries++ }})
		if err == nil || !strings.Contains(err.Error(), "port is taken") || tries != 10 {
			t.Errorf("Start = %v after %d tries", err, tries)
		}
		nothingIn(t, os.TempDir())
	})
}

// fake makes an installation like b with a server that only does what the shell makes of body.
func fake(t *testing.T, b pgserver.Binaries, body string) (dir string) {
	t.Helper()
	dir = reachableDir(t)
	for name, script := range map[string]string{"initdb": `exec "` + b.Dir + `/initdb" "$@"`, "postgres": body,
		"pg_ctl": "false"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// reachableDir is a temporary directory that every user can enter, and with a short name.
func reachableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(cmp.Or(pgserver.MemoryDir(), "/tmp"), "pgservertest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// nothingIn fails if dir holds directories of servers.
func nothingIn(t *testing.T, dir string) {
	t.Helper()
	left, _ := filepath.Glob(filepath.Join(dir, pgserver.BasePrefix+"*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
