package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// examine runs "doctor --json" and returns its report.
func examine(t *testing.T, code int, args ...string) (Report, outcome) {
	t.Helper()
	o := run(t, append([]string{"doctor", "--json"}, args...)...)
	o.mustExit(t, code)
	var r Report
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatalf("%v in:\n%s", err, o.stdout)
	}
	if len(r.Checks) != len(checks()) {
		t.Fatalf("%d checks, want %d", len(r.Checks), len(checks()))
	}
	return r, o
}

// mustBe compares the statuses of the checks with those in want, and with ok for the others.
func (r Report) mustBe(t *testing.T, want map[string]Status) {
	t.Helper()
	for _, c := range r.Checks {
		status, given := want[c.ID]
		if !given {
			status = StatusOK
		}
		if c.Status != status {
			t.Errorf("%s: %s, want %s: %s %q", c.ID, c.Status, status, c.Detail, c.Notes)
		}
	}
}

func (r Report) check(t *testing.T, id string) reportCheck {
	t.Helper()
	for _, c := range r.Checks {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("there is no check %q", id)
	return reportCheck{}
}

func tlsString(c *pgtest.Cluster, password string) string {
	return fmt.Sprintf("postgresql+psycopg2://%s:%s@%s:%d/%s?sslmode=require",
		pgtest.TLSUser, password, c.Host(), c.Port(), pgtest.TLSDatabase)
}

func TestDoctorWithItsOwnServer(t *testing.T) {
	r, o := examine(t, exitOK)
	r.mustBe(t, nil)
	if !r.Embedded || r.Status != StatusOK || r.Count.OK != len(checks()) {
		t.Errorf("got %+v", r)
	}
	mustContain(t, r.URI, "postgres://lwe-admin:***@127.0.0.1:", "/ai_workflow_engine?sslmode=require")
	mustContain(t, r.check(t, "tls").Detail, "TLS 1.3")
	mustContain(t, r.check(t, "authentication").Detail, "SCRAM-SHA-256")
	for _, id := range []string{"one_by_one", "at_once"} {
		m := r.check(t, id).Timings
		if m == nil || m.Count != 10 || m.Min <= 0 || m.Min > m.Mean || m.Mean > m.Max {
			t.Errorf("%s: timings %+v", id, m)
		}
	}
	if o.stderr != "" {
		t.Errorf("progress without a terminal: %s", o.stderr)
	}
}

func TestDoctorAgainstAServerWithTLSAndSCRAM(t *testing.T) {
	c := pgtest.SharedTLS(t)
	t.Run("all checks pass and leave no tables", func(t *testing.T) {
		r, _ := examine(t, exitOK, tlsString(c, secret))
		r.mustBe(t, nil)
		pgtest.Eventually(t, "the doctor's connections are gone", func() bool { return c.Activity(t, applicationName) == 0 })
		var tables int
		err := c.AdminIn(t, pgtest.TLSDatabase).QueryRow(context.Background(),
			"SELECT count(*) FROM pg_class WHERE relname LIKE 'pgsafe%'").Scan(&tables)
		if err != nil || tables != 0 {
			t.Errorf("%d tables are left, error %v", tables, err)
		}
	})
	t.Run("a verified certificate is reported", func(t *testing.T) {
		r, _ := examine(t, exitOK, c.URI(""))
		r.mustBe(t, nil)
		mustContain(t, r.check(t, "tls").Notes[0], "and its name are verified")
	})
	t.Run("the doctor requires no TLS of a server on this machine", func(t *testing.T) {
		r, _ := examine(t, exitOK, strings.Replace(tlsString(c, secret), "sslmode=require", "sslmode=disable", 1))
		r.mustBe(t, nil)
		mustContain(t, r.check(t, "tls").Detail, "none; the server is on this machine")
	})
	t.Run("a string that leaves statements to otelsql passes all checks", func(t *testing.T) {
		r, _ := examine(t, exitOK, tlsString(c, secret)+"&pgsafe_telemetry=otelsql")
		r.mustBe(t, nil)
	})
	t.Run("DATABASE_URL stands in for the argument", func(t *testing.T) {
		t.Setenv("DATABASE_URL", tlsString(c, secret))
		r, _ := examine(t, exitOK)
		if r.Embedded {
			t.Error("a server of its own was started")
		}
	})
	t.Run("the doctor's table has a line for each check and no colours", func(t *testing.T) {
		o := run(t, "doctor", tlsString(c, secret))
		o.mustExit(t, exitOK)
		for _, ch := range checks() {
			mustContain(t, o.stdout, "\n"+ch.title+" ")
		}
		mustContain(t, o.stdout, "Time to", "connect, all at once", "12 ok, 0 warning, 0 failed, 0 skipped")
		if strings.Contains(o.stdout, "\x1b") {
			t.Errorf("colours without a terminal:\n%q", o.stdout)
		}
	})
	t.Run("the doctor's Markdown has two tables", func(t *testing.T) {
		o := run(t, "doctor", "--markdown", tlsString(c, secret))
		o.mustExit(t, exitOK)
		mustContain(t, o.stdout, "**pgsafe doctor: ok**", "| Check | Status | Finding |", "| TLS | ok | ",
			"| Time to | count |", "pgx v5.")
		for line := range strings.Lines(o.stdout) {
			if strings.HasPrefix(line, "|") && !strings.HasSuffix(line, "|\n") {
				t.Errorf("a broken row: %q", line)
			}
		}
	})
	t.Run("a wrong password is reported, and the checks that need a connection are skipped", func(t *testing.T) {
		wrong := "n0t[the-0ne]at%all"
		o := run(t, "doctor", "--json", tlsString(c, wrong))
		o.mustExit(t, exitFailed)
		mustNotReveal(t, o.stdout+o.stderr, wrong)
		var r Report
		if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
			t.Fatal(err)
		}
		want := map[string]Status{"string": StatusOK, "server": StatusFailed, "closed_port": StatusOK}
		for _, c := range checks() {
			if _, given := want[c.id]; !given {
				want[c.id] = StatusSkipped
			}
		}
		r.mustBe(t, want)
		server := r.check(t, "server")
		mustContain(t, server.Detail, "kind auth, SQLSTATE 28P01")
		mustContain(t, server.Notes[0], "the user or the password is wrong")
		mustContain(t, r.check(t, "tls").Detail, `not run: the check "server" failed`)
		mustContain(t, r.check(t, "cancel").Detail, `not run: the check "rollback" was skipped`)
	})
	t.Run("an unknown database is reported", func(t *testing.T) {
		r, _ := examine(t, exitFailed, strings.Replace(tlsString(c, secret), pgtest.TLSDatabase, "nowhere", 1))
		mustContain(t, r.check(t, "server").Detail, "kind config, SQLSTATE 3D000")
	})
}

func TestDoctorWithRoles(t *testing.T) {
	c := pgtest.New(t, pgserver.Options{Auth: pgserver.SCRAM, Password: secret, HBA: []string{
		"local all all trust", "host all plain 127.0.0.1/32 password",
	}})
	admin := c.Admin(t)
	for _, sql := range []string{
		"REVOKE CREATE ON SCHEMA public FROM public",
		"CREATE ROLE reader LOGIN PASSWORD '" + secret + "'",
		"CREATE ROLE ten LOGIN CONNECTION LIMIT 10 PASSWORD '" + secret + "'",
		"CREATE ROLE five LOGIN CONNECTION LIMIT 5 PASSWORD '" + secret + "'",
		"CREATE ROLE plain LOGIN PASSWORD '" + secret + "'",
		"CREATE ROLE frozen LOGIN PASSWORD '" + secret + "'",
		"ALTER ROLE frozen SET default_transaction_read_only = on",
		"GRANT CREATE ON SCHEMA public TO ten, five, plain, frozen",
	} {
		if _, err := admin.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	as := func(role, query string) string {
		return fmt.Sprintf("postgres://%s:%s@%s:%d/postgres?sslmode=disable%s", role, url.PathEscape(secret), c.Host(),
			c.Port(), query)
	}
	for _, tt := range []struct {
		name   string
		dsn    string
		want   map[string]Status
		check  string
		detail string
	}{
		{"a role that may make no table skips the rollback", as("reader", ""),
			map[string]Status{"rollback": StatusSkipped, "cancel": StatusSkipped}, "rollback", "no right to create a table"},
		{"read-only transactions skip the rollback", as("frozen", ""),
			map[string]Status{"rollback": StatusSkipped, "cancel": StatusSkipped}, "rollback", "transactions are read-only"},
		{"ten connections are enough, whatever pool the string asks for", as("ten", "&pool_profile=production"),
			map[string]Status{"pool": StatusWarning}, "pool", "the pool may open 50 connections, and there is room for "},
		{"a role with room for five connections is reported", as("five", ""),
			map[string]Status{"at_once": StatusWarning}, "at_once", "only 5 of 10: "},
		{"a pool that fits is reported", as("reader", "&pool_max_conns=20"),
			map[string]Status{"rollback": StatusSkipped, "cancel": StatusSkipped},
			"pool", "the pool opens at most 20 connections"},
		{"a server that asks for the password itself is reported", as("plain", ""), nil,
			"authentication", "the server asked for the password itself"},
		{"a password on a unix socket with trust is not asked for",
			fmt.Sprintf("postgres:///postgres?host=%s&port=%d&user=ten", url.QueryEscape(c.SocketDir()), c.Port()),
			map[string]Status{"wrong_password": StatusSkipped}, "tls", "a unix socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := examine(t, exitOK, tt.dsn)
			r.mustBe(t, tt.want)
			mustContain(t, r.check(t, tt.check).Detail, tt.detail)
			pgtest.Eventually(t, "the server has forgotten the connections", func() bool { return c.Activity(t, "") == 0 })
		})
	}
}

func TestDoctorAgainstAServerWithTrust(t *testing.T) {
	r, _ := examine(t, exitOK, pgtest.Shared(t).Database(t))
	r.mustBe(t, map[string]Status{"wrong_password": StatusSkipped})
	mustContain(t, r.check(t, "wrong_password").Detail, "cannot run here: the server asks for no password")
	mustContain(t, r.check(t, "authentication").Detail, "no password")
}

func TestDoctorWithoutAServer(t *testing.T) {
	t.Run("a closed port is reported", func(t *testing.T) {
		r, _ := examine(t, exitFailed,
			fmt.Sprintf("postgres://app:%s@127.0.0.1:%d/x?connect_timeout=2", url.PathEscape(secret), pgtest.ClosedPort(t)))
		server := r.check(t, "server")
		mustContain(t, server.Detail, "kind unavailable")
		mustContain(t, server.Notes[0], "nobody listens there")
	})
	t.Run("a string that is not understood ends the doctor", func(t *testing.T) {
		r, _ := examine(t, exitFailed, unclearString)
		mustContain(t, r.check(t, "string").Detail, "(unknown_key)")
		if r.Count.Failed != 1 || r.Count.Skipped != len(checks())-1 {
			t.Errorf("got %+v", r.Count)
		}
	})
	host, port := pgtest.SilentListener(t)
	silent := fmt.Sprintf("postgres://app@%s:%d/x?sslmode=disable", host, port)
	t.Run("the timeout ends the doctor", func(t *testing.T) {
		r, _ := examine(t, exitFailed, "--timeout", "200ms", silent)
		mustContain(t, r.check(t, "server").Detail, "the time of --timeout was over")
		mustContain(t, r.check(t, "closed_port").Detail, "not run: the time of --timeout was over")
	})
	t.Run("cancellation ends the doctor", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		o := runWith(t, ctx, "", "doctor", silent)
		o.mustExit(t, exitFailed)
		mustContain(t, o.stdout, "connection string  failed   interrupted",
			"server             skipped  not run: interrupted")
	})
}

func TestInterruptStopsTheServer(t *testing.T) {
	// Not t.TempDir: under root the server runs as another user, which must enter the directory.
	temp, err := os.MkdirTemp("", "pgsafe-interrupt-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	bin, err := pgserver.Find(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "doctor")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = []string{asCommand + "=1", "TMPDIR=" + temp, pgserver.BinDirEnv + "=" + bin.Dir}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	files := func() []string {
		found, err := filepath.Glob(filepath.Join(temp, "pgsafe-server-*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	pgtest.Eventually(t, "the server has files", func() bool { return len(files()) > 0 })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code tells
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
	if left := files(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
