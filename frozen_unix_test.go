//go:build unix

package pgsafe_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestServerThatIsFrozen(t *testing.T) {
	cluster := pgtest.New(t, pgserver.Options{})
	db := open(t, pgsafe.DriverName, with(cluster.URI("postgres"), "pgsafe_cancel_timeout=100ms", "connect_timeout=2"))
	holdAll(t, db, 2)()
	rows, err := cluster.Admin(t).Query(t.Context(), "select pid from pg_stat_activity where backend_type = 'client backend'")
	must(t, err)
	var pids []int
	for rows.Next() {
		var pid int
		must(t, rows.Scan(&pid))
		pids = append(pids, pid)
	}
	must(t, rows.Err())
	signal := func(sig syscall.Signal) {
		for _, pid := range pids {
			if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
				t.Error(err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	t.Cleanup(func() { signal(syscall.SIGCONT) })
	must(t, cluster.Pause())
	for range 5 {
		if worksWithin(t, db, 200*time.Millisecond) {
			t.Error("a frozen server has answered")
		}
	}
	must(t, cluster.Resume())
	signal(syscall.SIGCONT)
	thawed := time.Now()
	pgtest.Eventually(t, "it works again", func() bool { return worksWithin(t, db, time.Second) })
	t.Logf("after a freeze the first statement succeeded within %v", time.Since(thawed).Round(time.Millisecond))
}
