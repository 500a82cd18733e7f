package pgserver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestStandby(t *testing.T) {
	for name, opts := range map[string]pgserver.Options{
		"a standby of a plain server": {},
		"a standby of a server with TLS and a password": {
			Auth: pgserver.SCRAM, TLS: true, User: "lwe-admin", Password: hard + `:\'`, Database: "ai_workflow_engine",
		},
		"a standby of a server that wants client certificates": {Auth: pgserver.ClientCert},
	} {
		t.Run(name+" takes over when it is promoted", func(t *testing.T) {
			primary := start(t, opts)
			run(t, primary.URI(""), "CREATE TABLE kept AS SELECT 1 AS n")
			standby, err := primary.Standby(t.Context(), pgserver.StandbyOptions{Settings: map[string]string{"work_mem": "7MB"}})
			if err != nil {
				t.Fatal(err)
			}
			defer standby.Stop(pgserver.Immediate)

			run(t, primary.URI(""), "INSERT INTO kept VALUES (2)")
			pgtest.Eventually(t, "the standby has the row", func() bool {
				return ask[int](t, standby.URI(""), "SELECT count(*)::int FROM kept") == 2
			})
			if _, err := tryAsk[int](t, standby.URI(""), "INSERT INTO kept VALUES (3) RETURNING n"); sqlState(err) != "25006" {
				t.Errorf("a write on the standby: %v", err)
			}
			if got := ask[string](t, standby.URI(""), "SHOW work_mem"); got != "7MB" {
				t.Errorf("work_mem of the standby is %s", got)
			}

			if err := primary.Stop(pgserver.Immediate); err != nil {
				t.Fatal(err)
			}
			if err := standby.Promote(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := ask[int](t, standby.URI(""),
				"INSERT INTO kept VALUES (3) RETURNING (SELECT sum(n)::int FROM kept)"); got != 3 {
				t.Errorf("the sum before the write was %d", got)
			}
			if err := standby.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := ask[int](t, standby.URI(""), "SELECT sum(n)::int FROM kept"); got != 6 {
				t.Errorf("the sum is %d", got)
			}
			if err := standby.Promote(t.Context()); err == nil || !strings.Contains(err.Error(), "not in standby mode") {
				t.Errorf("a second promotion: %v", err)
			}
		})
	}
}

func TestStandbyFails(t *testing.T) {
	t.Run("Standby reports that pg_basebackup is missing", func(t *testing.T) {
		t.Setenv("TMPDIR", reachableDir(t))
		b := find(t)
		b.Dir, b.Major = links(t, b.Dir, "postgres", "initdb", "pg_ctl"), 7 // no other installation has this version
		_, err := start(t, pgserver.Options{Binaries: b}).Standby(t.Context(), pgserver.StandbyOptions{})
		if err == nil || !strings.Contains(err.Error(), "pg_basebackup of PostgreSQL 7") {
			t.Errorf("Standby = %v", err)
		}
	})

	t.Run("Standby reports that the primary is down", func(t *testing.T) {
		primary := start(t, pgserver.Options{})
		if err := primary.Halt(pgserver.Immediate); err != nil {
			t.Fatal(err)
		}
		if _, err := primary.Standby(t.Context(), pgserver.StandbyOptions{}); err == nil ||
			!strings.Contains(err.Error(), "pg_basebackup: exit status 1") {
			t.Errorf("Standby = %v", err)
		}
	})

	t.Run("Standby refuses the settings that Start refuses", func(t *testing.T) {
		opts := pgserver.StandbyOptions{Settings: map[string]string{"primary_conninfo": "x"}}
		if _, err := pgtest.Shared(t).Server.Standby(t.Context(), opts); err == nil {
			t.Error("it did not")
		}
	})
}

// links makes a directory of scripts that stand for programs in from.
func links(t *testing.T, from string, names ...string) string {
	t.Helper()
	dir := reachableDir(t)
	for _, name := range names {
		script := "#!/bin/sh\nexec '" + filepath.Join(from, name) + "' \"$@\"\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
