//go:build unix

package libpq

import (
	"io/fs"
	"syscall"
)

// readableByOthers is libpq's rule (initialize_SSL, fe-secure-openssl.c): only the owner may use
// the file, but if that is root, its group may read it too, which is how systems share a key.
func readableByOthers(info fs.FileInfo) bool {
	forbidden := fs.FileMode(0o077)
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid == 0 {
		forbidden = 0o037
	}
	return info.Mode().Perm()&forbidden != 0
}
