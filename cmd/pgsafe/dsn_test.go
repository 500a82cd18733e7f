package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
)

const outageString = "postgresql+psycopg2://lwe-admin:" + secret + "@postgres:5432/ai_workflow_engine?sslmode=require"

const unclearString = "host=db usr=" + secret

func TestDSN(t *testing.T) {
	t.Run("a string is explained", func(t *testing.T) {
		o := run(t, "dsn", outageString)
		o.mustExit(t, exitOK)
		mustContain(t, o.stdout, "sqlalchemy", "postgres:5432", "lwe-admin", "password   given", "ai_workflow_engine",
			"sslmode=require",
			"postgres://lwe-admin:***@postgres:5432/ai_workflow_engine?sslmode=require", "changed ")
	})
	t.Run("a string that is not understood fails with part, reason and hint", func(t *testing.T) {
		o := run(t, "dsn", unclearString)
		o.mustExit(t, exitFailed)
		mustContain(t, o.stdout, "error ", "code       unknown_key", "part ", "hint ", "position   byte 8")
		if o.stderr != "" {
			t.Errorf("reported twice: %s", o.stderr)
		}
	})
	t.Run("DATABASE_URL stands in for the argument", func(t *testing.T) {
		t.Setenv("DATABASE_URL", outageString)
		o := run(t, "dsn")
		o.mustExit(t, exitOK)
		mustContain(t, o.stdout, "lwe-admin")
	})
	t.Run("a named dialect has its own meaning", func(t *testing.T) {
		const prisma = "postgres://u:" + secret + "@h/db?sslmode=require&sslaccept=strict&sslcert=ca.pem&schema=App"
		for _, args := range [][]string{{"dsn", "--dialect", "prisma", prisma}, {"dsn", prisma + "&pgsafe_dialect=prisma"}} {
			o := run(t, args...)
			o.mustExit(t, exitOK)
			mustContain(t, o.stdout, "dialect    prisma", "sslmode=verify-full", "sslrootcert=ca.pem", `search_path="App"`,
				"changed    schema: became search_path")
		}
	})
	t.Run("a string that does not fit the named dialect is refused", func(t *testing.T) {
		o := run(t, "dsn", "--dialect", "prisma", outageString)
		o.mustExit(t, exitFailed)
		mustContain(t, o.stdout, "code       conflict", "part       dialect")
	})
	t.Run("an unknown dialect is wrong usage", func(t *testing.T) {
		o := run(t, "dsn", "--dialect", secret, outageString)
		o.mustExit(t, exitUsage)
		mustContain(t, o.stderr, "unknown dialect", "prisma")
	})
	t.Run("the empty string is libpq's defaults", func(t *testing.T) {
		o := run(t, "dsn", "")
		o.mustExit(t, exitOK)
		mustContain(t, o.stdout, "PGHOST", "PGUSER", "PGDATABASE")
	})
	t.Run("the password is shown on request", func(t *testing.T) {
		var out strings.Builder
		code := execute(context.Background(), []string{"dsn", "--show-password", "postgres://app:opensesame@db/x"},
			strings.NewReader(""), &out, io.Discard)
		if code != exitOK || !strings.Contains(out.String(), "postgres://app:opensesame@db/x") {
			t.Errorf("exit code %d, output:\n%s", code, out.String())
		}
	})
}

func TestDSNAsJSON(t *testing.T) {
	t.Run("a string that is understood is explained in JSON", func(t *testing.T) {
		o := run(t, "dsn", "--json", outageString+"&pool_max_conns=7")
		o.mustExit(t, exitOK)
		var m struct {
			OK      bool
			Dialect string
			Hosts   []struct {
				Name string
				Port int
			}
			User        string
			Database    string
			HasPassword bool `json:"has_password"`
			URI         string
			Params      []struct{ Key, Value string }
			Pool        []struct{ Key, Value string }
			Changes     []struct{ Part, Text string }
		}
		if err := json.Unmarshal([]byte(o.stdout), &m); err != nil {
			t.Fatal(err)
		}
		if !m.OK || m.Hosts[0].Name != "postgres" || m.Hosts[0].Port != 5432 || m.User != "lwe-admin" ||
			m.Database != "ai_workflow_engine" || !m.HasPassword || m.Params[0].Value != "require" ||
			m.Pool[0].Key != "pool_max_conns" || len(m.Changes) == 0 ||
			m.URI != "postgres://lwe-admin:***@postgres:5432/ai_workflow_engine?sslmode=require" {
			t.Errorf("got %+v", m)
		}
	})
	t.Run("a string that is not understood is refused in JSON", func(t *testing.T) {
		o := run(t, "dsn", "--json", unclearString)
		o.mustExit(t, exitFailed)
		var m meaning
		if err := json.Unmarshal([]byte(o.stdout), &m); err != nil {
			t.Fatal(err)
		}
		if m.OK || m.Report != nil || m.Error == nil || m.Error.Code != "unknown_key" || m.Error.Reason == "" ||
			m.Error.Position != 8 {
			t.Errorf("got %+v, error %+v", m, m.Error)
		}
	})
}

func TestDSNFromStandardInput(t *testing.T) {
	t.Run("five thousand lines give five thousand results", func(t *testing.T) {
		var in strings.Builder
		for i := range 5000 {
			if i%100 == 99 {
				in.WriteString(unclearString + "\r\n")
			} else {
				fmt.Fprintf(&in, "postgresql+psycopg2://app:%s@db%d/orders\n", secret, i)
			}
		}
		o := runWith(t, context.Background(), in.String(), "dsn", "--json", "-")
		o.mustExit(t, exitFailed)
		n := 0
		for line := range strings.Lines(o.stdout) {
			n++
			var m meaning
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			if m.Line != n || m.OK != (n%100 != 0) {
				t.Fatalf("result %d: %s", n, line)
			}
		}
		if n != 5000 {
			t.Errorf("%d results", n)
		}
	})
	t.Run("each string is a line without --json, and empty lines are skipped", func(t *testing.T) {
		o := runWith(t, context.Background(), "postgres://a@db/x\n\n"+unclearString, "dsn", "-")
		o.mustExit(t, exitFailed)
		lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
		if len(lines) != 2 || lines[0] != "1\tok\tpostgres://a@db/x" || !strings.HasPrefix(lines[1], "3\terror\t") {
			t.Errorf("got %q", lines)
		}
	})
	t.Run("valid lines alone are a success", func(t *testing.T) {
		runWith(t, context.Background(), "postgres://a@db/x\n", "dsn", "-").mustExit(t, exitOK)
	})
	t.Run("each result is written before the next string is read", func(t *testing.T) {
		in, typed := io.Pipe()
		shown, out := io.Pipe()
		done := make(chan int)
		go func() {
			code := execute(context.Background(), []string{"dsn", "-"}, in, out, io.Discard)
			_ = out.Close()
			done <- code
		}()
		results := bufio.NewReader(shown)
		for range 3 {
			if _, err := typed.Write([]byte("postgres://a@db/x\n")); err != nil {
				t.Fatal(err)
			}
			if _, err := results.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		_ = typed.Close()
		if code := <-done; code != exitOK {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("a failing reader is reported", func(t *testing.T) {
		in, typed := io.Pipe()
		_ = typed.CloseWithError(io.ErrUnexpectedEOF)
		var stderr strings.Builder
		code := execute(context.Background(), []string{"dsn", "-"}, in, io.Discard, &stderr)
		if code != exitFailed || !strings.Contains(stderr.String(), "read standard input") {
			t.Errorf("exit code %d: %s", code, stderr.String())
		}
	})
}
