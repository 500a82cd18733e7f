//go:build backends

package backends

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

var keep = flag.Bool("keep", false, "leave the backends running after the tests, with what they were sent")

func TestMain(m *testing.M) {
	flag.Parse()
	var excused []goleak.Option
	if *keep {
		excused = append(excused, goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"))
	}
	pgtest.Main(m, excused...)
}
