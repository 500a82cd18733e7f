//go:build linux

package pgserver_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// processesIn lists the processes whose current directory is dir. All processes of a server run in its data
// directory. (Zombies have none.)
func processesIn(t *testing.T, dir string) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, link := range dirs {
		if cwd, err := os.Readlink(link); err == nil && strings.TrimSuffix(cwd, " (deleted)") == dir {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// asNobody makes the child run as the user nobody, if this process runs as root.
func asNobody(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	// The go command builds tests in a directory that only we can enter.
	program, err := os.ReadFile(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	dir := reachableDir(t)
	cmd.Path = filepath.Join(dir, "helper")
	if err := os.WriteFile(cmd.Path, program, 0o755); err != nil {
		t.Fatal(err)
	}
}

// child is this test binary run as a helper, see helperEnv.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *bytes.Buffer
	about
}

// spawn runs a helper with an environment that is empty but for env, and waits for its server.
func spawn(t *testing.T, prepare func(*testing.T, *exec.Cmd), env ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", helperEnv + "=1"}, env...)
	if dir := os.Getenv(pgserver.BinDirEnv); dir != "" {
		cmd.Env = append(cmd.Env, pgserver.BinDirEnv+"="+dir)
	}
	if prepare != nil {
		prepare(t, cmd)
	}
	c := &child{cmd: cmd, stderr: &bytes.Buffer{}}
	cmd.Stderr = c.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c.about)
	}
	if err != nil {
		stdin.Close()
		t.Fatalf("the helper: %v, %v: %s", err, cmd.Wait(), c.stderr)
	}
	return c
}

// end lets the helper stop its server and waits for it.
func (c *child) end(t *testing.T) {
	t.Helper()
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the helper: %v: %s", err, c.stderr)
	}
	if _, err := os.Stat(c.DataDir); !os.IsNotExist(err) {
		t.Errorf("the helper left %s (%v)", c.DataDir, err)
	}
}

func TestServerRunsWithAnEmptyEnvironment(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *exec.Cmd){
		"a server runs with an empty environment as the current user":               nil,
		"a server runs with an empty environment as a user without rights and home": asNobody,
	} {
		t.Run(name, func(t *testing.T) {
			c := spawn(t, prepare)
			if len(processesIn(t, c.DataDir)) == 0 {
				t.Error("no process has its data directory as current directory: the tests of remaining processes are void")
			}
			if got := ask[int](t, c.URI, "SELECT 42"); got != 42 {
				t.Errorf("got %d", got)
			}
			c.end(t)
		})
	}
}

func TestServerDoesNotRunAsRoot(t *testing.T) {
	s := start(t, pgserver.Options{})
	info, err := os.Stat("/proc/" + strconv.Itoa(s.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid == 0 || os.Geteuid() != 0 && int(uid) != os.Geteuid() {
		t.Errorf("it runs as %d, and we as %d", uid, os.Geteuid())
	}
}

func TestNothingOutlivesAKilledParent(t *testing.T) {
	for name, before := range map[string]func(*testing.T, *child){
		"an idle server ends with its parent": func(*testing.T, *child) {},
		"a paused server ends with its parent": func(t *testing.T, c *child) {
			if err := syscall.Kill(c.Pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			pgtest.Eventually(t, "the postmaster has stopped", func() bool {
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Pid))
				return err == nil && bytes.Contains(stat, []byte(") T "))
			})
		},
		"a server with a busy backend ends with its parent": func(t *testing.T, c *child) {
			conn := pgconnect(t, c.URI)
			go func() {
				_, _ = conn.Exec(t.Context(), "SELECT count(*) FROM generate_series(1, 2000000000)").ReadAll()
			}()
			pgtest.Eventually(t, "the statement runs", func() bool {
				return ask[int](t, c.URI, "SELECT count(*)::int FROM pg_stat_activity WHERE state = 'active' "+
					"AND query LIKE '%generate_series%' AND pid <> pg_backend_pid()") == 1
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			tmp := reachableDir(t)
			c := spawn(t, nil, "TMPDIR="+tmp)
			before(t, c)
			if err := c.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = c.cmd.Wait()
			pgtest.Eventually(t, "all processes of the server are gone", func() bool {
				return len(processesIn(t, c.DataDir)) == 0
			})

			// The files are still there, and the next server of the same place removes them.
			base := filepath.Dir(c.DataDir)
			t.Setenv("TMPDIR", tmp)
			living := start(t, pgserver.Options{})
			if _, err := os.Stat(base); err != nil {
				t.Errorf("a directory of this minute was removed: %v", err)
			}
			old := time.Now().Add(-time.Hour)
			for _, dir := range []string{base, filepath.Dir(living.DataDir())} {
				if err := os.Chtimes(dir, old, old); err != nil {
					t.Fatal(err)
				}
			}
			start(t, pgserver.Options{})
			if _, err := os.Stat(base); !os.IsNotExist(err) {
				t.Errorf("%s is still there (%v)", base, err)
			}
			ask[int](t, living.URI(""), "SELECT 1")
		})
	}
}

func TestTemporaryDirectory(t *testing.T) {
	t.Run("the data directory is in memory if the machine has enough and TMPDIR is not set", func(t *testing.T) {
		t.Setenv("TMPDIR", "")
		want := cmp.Or(pgserver.MemoryDir(), "/tmp")
		if s := start(t, pgserver.Options{}); filepath.Dir(filepath.Dir(s.DataDir())) != want {
			t.Errorf("the server is in %s, want %s", s.DataDir(), want)
		}
	})

	t.Run("the temporary directory may have a name too long for a unix socket", func(t *testing.T) {
		long := filepath.Join(reachableDir(t), strings.Repeat("x", 100))
		if err := os.Mkdir(long, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("TMPDIR", long)
		s := start(t, pgserver.Options{})
		ask[int](t, s.SocketURI(""), "SELECT 1")
		if err := s.Stop(pgserver.Fast); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(s.SocketDir()); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", s.SocketDir(), err)
		}
	})

	t.Run("the temporary directory may be private to its owner", func(t *testing.T) {
		t.Setenv("TMPDIR", t.TempDir())
		ask[int](t, start(t, pgserver.Options{}).URI(""), "SELECT 1")
	})

	t.Run("only the server's user can enter the data and socket directories", func(t *testing.T) {
		s := start(t, pgserver.Options{})
		for _, dir := range []string{s.DataDir(), s.SocketDir()} {
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%s has mode %v (%v)", dir, info.Mode(), err)
			}
		}
	})
}

func pgconnect(t *testing.T, uri string) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestPasswordIsNotShown(t *testing.T) {
	primary := start(t, pgserver.Options{
		Auth: pgserver.SCRAM, Password: hard, Database: "ai_workflow_engine",
		Settings: map[string]string{"log_statement": "all", "log_connections": "on"},
	})
	t.Run("a password is not in a server's processes and log", func(t *testing.T) { noPassword(t, primary) })
	t.Run("a password is not in the processes of a standby and its primary", func(t *testing.T) {
		standby, err := primary.Standby(t.Context(), pgserver.StandbyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer standby.Stop(pgserver.Immediate)
		noPassword(t, standby)
		noPassword(t, primary)
	})
}

// noPassword fails if the password hard is in the arguments or environment of one of s's processes, or in its log.
func noPassword(t *testing.T, s *pgserver.Server) {
	t.Helper()
	ask[int](t, s.URI(""), "SELECT 1")
	pids := processesIn(t, s.DataDir())
	if len(pids) < 2 {
		t.Errorf("the server has only the processes %v", pids)
	}
	for _, pid := range pids {
		for _, file := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if err == nil && strings.Contains(string(text), hard) {
				t.Errorf("it is in the %s of %q", file, text)
			}
		}
	}
	if strings.Contains(s.Log(), hard) {
		t.Errorf("it is in the log:\n%s", s.Log())
	}
}
