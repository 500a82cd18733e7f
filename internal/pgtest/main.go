package pgtest

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// mainRuns is true while Main runs tests.
var mainRuns atomic.Bool

// Main is for TestMain: it runs the tests, stops the shared servers, fails if any goroutine is left
// that opts do not excuse, and exits the process.
func Main(m *testing.M, opts ...goleak.Option) {
	mainRuns.Store(true)
	code := m.Run()
	mainRuns.Store(false)
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest: stopping the shared servers:", err)
		code = max(code, 1)
	}
	if code == 0 { // a failed test may well leave something behind, which would hide why it failed
		if err := goleak.Find(opts...); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest: goroutines outlive the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}
