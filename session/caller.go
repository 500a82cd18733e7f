package session

import (
	"fmt"
	"path"
	"runtime"
	"strings"
)

// caller is a place in the application. It is cheap to take; what it is called is looked up only when it is told.
type caller struct {
	pcs [16]uintptr
	n   int
}

// here takes the place from which this package was called.
func (c *caller) here() { c.n = runtime.Callers(3, c.pcs[:]) }

// frame finds the line of the application: the first that is not in this package, in database/sql, or in a module that
// was downloaded, such as a mapper; if there is none, the first outside of this package.
func (c *caller) frame() runtime.Frame {
	frames := runtime.CallersFrames(c.pcs[:c.n])
	var outside runtime.Frame
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "github.com/pgsafe/pgsafe/session.") {
			if outside.PC == 0 {
				outside = f
			}
			if !ofLibrary(f) {
				return f
			}
		}
		if !more {
			return outside
		}
	}
}

// line is what messages call a line.
func line(file string, n int) string {
	dir, file := path.Split(file)
	return fmt.Sprintf("%s:%d", path.Join(path.Base(dir), file), n)
}

func ofLibrary(f runtime.Frame) bool {
	return strings.HasPrefix(f.Function, "database/sql.") || strings.HasPrefix(f.Function, "runtime.") ||
		strings.Contains(f.File, "/pkg/mod/") || strings.Contains(f.File, "/vendor/")
}

// String is such as "orders/store.go:42".
func (c *caller) String() string {
	f := c.frame()
	return line(f.File, f.Line)
}
