package pgserver

import (
	"os"
	"syscall"
)

// memoryMinimum is how much must be free in the machine's memory file system for servers to live
// there: many times what the tests of all packages, running side by side, need.
const memoryMinimum = 4 << 30

// memoryDir returns a file system in memory with room, or "". A fresh cluster is a thousand files,
// so on a disk most of the time of starting and removing it goes there. (In a container the
// directory is often too small.)
func memoryDir() string {
	const dir = "/dev/shm"
	const tmpfsMagic = 0x01021994
	var stat syscall.Statfs_t
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o777 || syscall.Statfs(dir, &stat) != nil {
		return ""
	}
	// The type of Bsize differs between architectures.
	if stat.Type != tmpfsMagic || int64(stat.Bavail)*int64(stat.Bsize) < memoryMinimum { //nolint:unconvert // see above
		return ""
	}
	return dir
}
