package sqlstate

import (
	_ "embed"
	"strings"
	"sync"
)

// conditions has a line for each code of PostgreSQL's errcodes.txt: the code and its condition
// name.
//
//go:embed conditions.txt
var conditions string

var nameOf = sync.OnceValue(func() map[string]string {
	names := make(map[string]string)
	for line := range strings.Lines(conditions) {
		code, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		names[code] = name
	}
	return names
})

// Name returns the condition name of a code, such as "unique_violation" of 23505. It is "" for a
// code that PostgreSQL does not define: an extension or a RAISE may send any.
func Name(code string) string { return nameOf()[code] }
