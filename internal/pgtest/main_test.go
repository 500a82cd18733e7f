package pgtest_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// roleEnv makes the test binary be another one, see tests.
const roleEnv = "PGTEST_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "leak":
		go func() { select {} }()
	case "without Main":
		os.Exit(m.Run())
	}
	pgtest.Main(m)
}

// recorder records failures without failing the test that uses it.
type recorder struct {
	testing.TB
	failure string
}

// failureOf returns with what fn failed the test it was given, or "".
func failureOf(t *testing.T, fn func(tb testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(r)
	}()
	<-done
	return r.failure
}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) { r.fatal(fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) { r.fatal(fmt.Sprintf(format, args...)) }

func (r *recorder) fatal(text string) {
	r.failure = text
	runtime.Goexit()
}
