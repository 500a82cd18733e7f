//go:build unix

package bench_test

import (
	"syscall"
	"time"
)

// cpuTime returns the processor time that this process has used, in user code and in the kernel.
// The server's processes are not in it.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it fails for wrong arguments only
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
