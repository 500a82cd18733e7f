//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package pgserver

import (
	"os"
	"syscall"
)

// tryLock takes the lock on f that ends with the process, or reports that another process has it.
func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

func ownedBy(info os.FileInfo, uid int) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}
