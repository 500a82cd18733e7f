//go:build !unix

package bench_test

import "time"

// cpuTime needs getrusage.
func cpuTime() time.Duration { return 0 }
