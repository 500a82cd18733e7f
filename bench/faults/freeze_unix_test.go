//go:build unix

package faults_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

var frozen = []fault{{"the server is frozen", freeze}}

// freeze stops the postmaster and all backends for a while, as a machine does that swaps or migrates.
func freeze(t *testing.T, driver string) outcome {
	cluster := pgtest.New(t, pgserver.Options{})
	uri := cluster.Database(t)
	l := start(t, open(t, driver, uri), adds)
	l.more(t, 100)
	rows, err := cluster.Admin(t).Query(t.Context(), "select pid from pg_stat_activity where datname = $1", database(t, uri))
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
			_ = syscall.Kill(pid, sig) // it may be gone
		}
	}
	t.Cleanup(func() { signal(syscall.SIGCONT) })
	must(t, cluster.Pause())
	signal(syscall.SIGSTOP)
	<-time.After(outage())
	signal(syscall.SIGCONT)
	must(t, cluster.Resume())
	l.over(t)
	o := l.end()
	o.opened = cluster.Sessions(t, database(t, uri))
	return o
}
