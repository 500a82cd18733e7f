package pgtest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// connect opens a connection that the test closes, if it did not do so itself.
func connect(t *testing.T, uri string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func closed(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func get[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) (got T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func TestSharedServers(t *testing.T) {
	t.Run("each test gets the same shared servers", func(t *testing.T) {
		if a, b := pgtest.Shared(t), pgtest.Shared(t); a != b {
			t.Error("Shared gave two")
		}
		if a, b := pgtest.SharedTLS(t), pgtest.SharedTLS(t); a != b {
			t.Error("SharedTLS gave two")
		}
		if a, b := pgtest.ClientCert(t), pgtest.ClientCert(t); a != b {
			t.Error("ClientCert gave two")
		}
	})

	t.Run("the shared server with TLS has the hard password", func(t *testing.T) {
		got := get[string](t, connect(t, pgtest.SharedTLS(t).URI("")),
			"SELECT current_user || ' ' || current_database() || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
		if got != "lwe-admin ai_workflow_engine true" {
			t.Errorf("we are %s", got)
		}
		if pgtest.SharedTLS(t).Password() != "y5268[695t-13htgq244t5thj[8q9grq" {
			t.Error("it has another password")
		}
	})

	t.Run("the shared server with client certificates accepts only a client with a certificate", func(t *testing.T) {
		uri := pgtest.ClientCert(t).URI("")
		if got := get[string](t, connect(t, uri), "SELECT current_user::text"); got != "postgres" {
			t.Errorf("we are %s", got)
		}
		without, _, _ := strings.Cut(uri, "&sslcert=")
		if _, err := pgx.Connect(t.Context(), without); err == nil {
			t.Error("it accepts a client without a certificate")
		}
	})
}

func TestDatabase(t *testing.T) {
	for name, c := range map[string]*pgtest.Cluster{
		"a plain server": pgtest.Shared(t), "a server with TLS": pgtest.SharedTLS(t),
		"a server with client certificates": pgtest.ClientCert(t),
	} {
		t.Run("each database of "+name+" is new, and dropped after the test", func(t *testing.T) {
			var first string
			t.Run("a test gets two databases", func(t *testing.T) {
				a, b := connect(t, c.Database(t)), connect(t, c.Database(t))
				first = get[string](t, a, "SELECT current_database()::text")
				if second := get[string](t, b, "SELECT current_database()::text"); first == second {
					t.Errorf("both are %s", first)
				}
			})
			if n := get[int](t, c.Admin(t), "SELECT count(*) FROM pg_database WHERE datname = $1", first); n != 0 {
				t.Errorf("%s is still there", first)
			}
		})
	}

	t.Run("many tests can get databases at once", func(t *testing.T) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { pgtest.Shared(t).Database(t) })
		}
		all.Wait()
	})

	t.Run("a database of a stopped server does not fail the test", func(t *testing.T) {
		c := pgtest.New(t, pgserver.Options{})
		c.Database(t)
		if err := c.Halt(pgserver.Immediate); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a database can be made after a restart", func(t *testing.T) {
		c := pgtest.New(t, pgserver.Options{})
		c.Database(t)
		if err := c.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		connect(t, c.Database(t))
	})
}

func TestCounts(t *testing.T) {
	c := pgtest.Shared(t)
	uri := c.Database(t)
	name := get[string](t, connect(t, uri), "SELECT current_database()::text")

	t.Run("Sessions counts past sessions exactly", func(t *testing.T) {
		before := c.Sessions(t, name)
		for range 20 {
			closed(t, connect(t, uri))
		}
		c.AdminIn(t, name)
		connect(t, c.Database(t))
		if got := c.Sessions(t, name) - before; got != 20 {
			t.Errorf("Sessions = %d, want 20", got)
		}
	})

	t.Run("Activity counts open sessions by database and by application", func(t *testing.T) {
		before, all := c.Activity(t, name), c.Activity(t, "")
		a := connect(t, uri+"&application_name=one")
		connect(t, uri+"&application_name=two")
		if got := c.Activity(t, name); got != before+2 {
			t.Errorf("by database: %d, want %d", got, before+2)
		}
		if got := c.Activity(t, "one"); got != 1 {
			t.Errorf("by application: %d, want 1", got)
		}
		if got := c.Activity(t, ""); got < all+2-1 {
			t.Errorf("in all: %d, want %d", got, all+2)
		}
		closed(t, a)
		pgtest.Eventually(t, "the first connection is gone", func() bool { return c.Activity(t, "one") == 0 })
	})

	t.Run("Sessions works on a server whose log the test reads as well", func(t *testing.T) {
		var lines int
		own := pgtest.New(t, pgserver.Options{OnLog: func(string) { lines++ },
			Settings: map[string]string{"work_mem": "3MB"}})
		closed(t, connect(t, own.URI("")))
		if got := own.Sessions(t, "postgres"); got != 1 {
			t.Errorf("Sessions = %d, want 1", got)
		}
		if err := own.Halt(pgserver.Immediate); err != nil {
			t.Fatal(err)
		}
		if lines == 0 {
			t.Error("the test's OnLog was not called")
		}
	})
}

func TestStandby(t *testing.T) {
	primary := pgtest.New(t, pgserver.Options{})
	standby := pgtest.Standby(t, primary)
	uri := primary.Database(t)
	conn := connect(t, uri)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n"); err != nil {
		t.Fatal(err)
	}
	standby.CatchUp(t, primary)
	name := get[string](t, conn, "SELECT current_database()::text")
	if got := get[int](t, connect(t, standby.URI(name)), "SELECT count(*) FROM t"); got != 1000 {
		t.Errorf("the standby has %d rows", got)
	}
	if got := standby.Sessions(t, name); got != 1 {
		t.Errorf("the standby had %d sessions, want 1", got)
	}
}

func TestMissingPostgresFailsTheTestAndSaysHowToGetIt(t *testing.T) {
	t.Setenv(pgserver.BinDirEnv, "/no/such/directory")
	failure := failureOf(t, func(tb testing.TB) { pgtest.New(tb, pgserver.Options{}) })
	for _, want := range []string{"PGSAFE_PG_BIN=/no/such/directory", "apt-get install postgresql"} {
		if !strings.Contains(failure, want) {
			t.Errorf("the test failed with %q, which lacks %q", failure, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Run("a closed port refuses connections", func(t *testing.T) {
		_, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", pgtest.ClosedPort(t)))
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Dial = %v", err)
		}
	})

	t.Run("a silent listener takes connections and says nothing", func(t *testing.T) {
		host, port := pgtest.SilentListener(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := pgconn.Connect(ctx, fmt.Sprintf("host=%s port=%d user=x sslmode=disable", host, port))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Connect = %v", err)
		}
	})
}

// Main exits the process, so it is looked at from outside: each role runs this binary with one test.
func TestMainsRules(t *testing.T) {
	if os.Getenv(roleEnv) != "" {
		pgtest.Shared(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, role, want string }{
		{"a test that leaves no goroutine passes", "none", "PASS"},
		{"a goroutine that outlives the tests fails them", "leak", "goroutines outlive the tests"},
		{"a shared server without Main fails the test", "without Main", "pgtest.Main(m)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(self, "-test.run", "^TestMainsRules$")
			tmp, err := os.MkdirTemp("/tmp", "pgtesttest")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(tmp)
			if err := os.Chmod(tmp, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd.Env = append(os.Environ(), roleEnv+"="+test.role, "TMPDIR="+tmp)
			out, err := cmd.CombinedOutput()
			if (err == nil) != (test.want == "PASS") || !strings.Contains(string(out), test.want) {
				t.Errorf("%v, want %q in:\n%s", err, test.want, out)
			}
			if left, _ := filepath.Glob(filepath.Join(tmp, "pgsafe-server-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
