package main

import (
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	bad := "postgres://app:" + secret + "@db/orders"
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"no arguments show the help", nil, exitOK, "Examples:", ""},
		{"help shows the exit codes", []string{"--help"}, exitOK, "2 wrong usage", ""},
		{"the doctor's help lists the JSON fields", []string{"doctor", "--help"}, exitOK, "min_ms", ""},
		{"the help of dsn lists the JSON fields", []string{"dsn", "--help"}, exitOK, "has_password", ""},
		{"the version command names pgx", []string{"version"}, exitOK, "pgx v5.", ""},
		{"a completion script comes with the commands", []string{"completion", "bash"}, exitOK, "pgsafe", ""},
		{"an unknown command is not repeated", []string{bad}, exitUsage, "", "no such command; to look at"},
		{"a misspelt command is corrected", []string{"doctr"}, exitUsage, "", `did you mean "doctor"?`},
		{"two strings are a quoting mistake", []string{"dsn", bad, secret}, exitUsage, "", "single quotes"},
		{"an unknown flag is not repeated", []string{"dsn", "--" + secret}, exitUsage, "", "no such flag; there are --"},
		{"a bad value of a flag is not repeated", []string{"doctor", "--timeout", bad}, exitUsage, "",
			"--timeout: not a valid value"},
		{"a flag without its value is named", []string{"doctor", "--timeout"}, exitUsage, "", "--timeout needs a value"},
		{"a timeout of nothing is refused", []string{"doctor", "--timeout", "0s", bad}, exitUsage, "", "more than zero"},
		{"two formats are refused", []string{"doctor", "--json", "--markdown", bad}, exitUsage, "", "exclude each other"},
		{"dsn without a string is refused", []string{"dsn"}, exitUsage, "", "DATABASE_URL"},
		{"postgres-bin takes no arguments", []string{"postgres-bin", "x"}, exitUsage, "", "pgsafe --help"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := run(t, tt.args...)
			o.mustExit(t, tt.code)
			mustContain(t, o.stdout, tt.stdout)
			mustContain(t, o.stderr, tt.stderr)
			if tt.code == exitUsage && o.stdout != "" {
				t.Errorf("wrong usage wrote to stdout: %s", o.stdout)
			}
			if strings.Contains(o.stderr, "pgsafe: pgsafe") {
				t.Errorf("the name comes twice: %s", o.stderr)
			}
		})
	}
}

func TestTheCommandLine(t *testing.T) {
	t.Run("--version prints the versions", func(t *testing.T) {
		o := run(t, "--version")
		o.mustExit(t, exitOK)
		mustContain(t, o.stdout, "pgsafe ", "pgx ")
	})
	t.Run("completion for an unknown shell is wrong usage", func(t *testing.T) {
		run(t, "completion", "foo").mustExit(t, exitUsage)
		run(t, "completion", "bash").mustExit(t, exitOK)
	})
	t.Run("--dialect is completed", func(t *testing.T) {
		o := run(t, "__complete", "dsn", "--dialect", "")
		mustContain(t, o.stdout, "prisma", "libpq-go")
	})
	t.Run("dsn says in words what TLS will be, and names no port 0", func(t *testing.T) {
		o := run(t, "dsn", "postgres://u@/db?sslmode=require")
		mustContain(t, o.stdout, "encrypted, the server's certificate is not checked")
		if strings.Contains(o.stdout, "port 0") {
			t.Error(o.stdout)
		}
	})
	t.Run("dsn names the dialects that accept a refused string", func(t *testing.T) {
		o := run(t, "dsn", "postgres://user:p@%2FsuperSecret9@db.example.com/app")
		o.mustExit(t, exitFailed)
		mustContain(t, o.stdout, "accepted with --dialect", "node")
	})
	t.Run("dsn says that DATABASE_URL is empty", func(t *testing.T) {
		t.Setenv("DATABASE_URL", "")
		o := run(t, "dsn")
		o.mustExit(t, exitUsage)
		mustContain(t, o.stderr, "DATABASE_URL is set, and empty")
	})
}
