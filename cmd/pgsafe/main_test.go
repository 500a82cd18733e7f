package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// asCommand makes the test binary be the command itself, for tests that send signals.
const asCommand = "PGSAFE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	for _, name := range []string{"DATABASE_URL", "PGSAFE_PROFILE", "PGSSLMODE", repositoryEnv, cacheEnv} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	pgtest.Main(m)
}

// secret is the password of pgtest's TLS server.
const secret = pgtest.TLSPassword

// outcome is what a command did.
type outcome struct {
	code           int
	stdout, stderr string
}

// run executes a command line, and fails the test if the output holds four characters in a row of the secret.
func run(t *testing.T, args ...string) outcome {
	t.Helper()
	return runWith(t, context.Background(), "", args...)
}

func runWith(t *testing.T, ctx context.Context, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := execute(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	o := outcome{code, stdout.String(), stderr.String()}
	mustNotReveal(t, o.stdout+o.stderr, secret)
	return o
}

// number is a port, or a part of a temporary directory's name, which may hold the four digits of the secret.
var number = regexp.MustCompile(`[0-9]{5,}`)

func mustNotReveal(t *testing.T, text, secret string) {
	t.Helper()
	if reveals(number.ReplaceAllString(text, ""), secret) {
		t.Errorf("the output holds a part of the password:\n%s", text)
	}
}

func (o outcome) mustExit(t *testing.T, code int) {
	t.Helper()
	if o.code != code {
		t.Fatalf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", o.code, code, o.stdout, o.stderr)
	}
}

func mustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}
