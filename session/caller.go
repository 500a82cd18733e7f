package session

import (
	"fmt"
	"path"
	"runtime"
	"strings"
)

// caller is a place in the application, a return address. What it is called is looked up only when it is told.
type caller uintptr

// here returns the place from which this package was called, for its exported methods: the first outside of it that is not in
// database/sql or in a module that was downloaded, such as a mapper; if there is none, the first outside of this package. A
// look at the stack costs by its depth, so the caller's is looked at first, and most often that is all.
func here() caller {
	var near [1]uintptr
	if c, found := firstOf(near[:runtime.Callers(3, near[:])]); found {
		return c
	}
	var all [32]uintptr
	c, _ := firstOf(all[:runtime.Callers(3, all[:])])
	return c
}

// firstOf returns the first place in the application, and reports whether there is one. Without one it is the first
// outside of this package.
func firstOf(pcs []uintptr) (c caller, found bool) {
	for _, pc := range pcs {
		switch whose.of(pc) {
		case application:
			return caller(pc), true
		case library:
			if c == 0 {
				c = caller(pc)
			}
		}
	}
	return c, false
}

// owner tells whose code is at a place.
type owner uint8

const (
	application owner = iota
	library           // or database/sql
	ours
)

// whose remembers whose code is where. A program has so many places that call this package, and no more.
var whose places

func ownerOf(f runtime.Frame) owner {
	switch {
	case strings.HasPrefix(f.Function, "github.com/pgsafe/pgsafe/session."):
		return ours
	case strings.HasPrefix(f.Function, "database/sql."), strings.HasPrefix(f.Function, "runtime."),
		strings.Contains(f.File, "/pkg/mod/"), strings.Contains(f.File, "/vendor/"):
		return library
	}
	return application
}

// frame looks the place up.
func (c caller) frame() runtime.Frame {
	f, _ := runtime.CallersFrames([]uintptr{uintptr(c)}).Next()
	return f
}

// String is such as "orders/store.go:42".
func (c caller) String() string {
	f := c.frame()
	return line(f.File, f.Line)
}

// line is what messages call a line.
func line(file string, n int) string {
	dir, file := path.Split(file)
	return fmt.Sprintf("%s:%d", path.Join(path.Base(dir), file), n)
}
