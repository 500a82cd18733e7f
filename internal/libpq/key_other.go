//go:build !unix

package libpq

import "io/fs"

// readableByOthers is not known here; libpq does not ask either.
func readableByOthers(fs.FileInfo) bool { return false }
