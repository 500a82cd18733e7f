package faults_test

import (
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

var frozen = []fault{{"the server is frozen", freeze}}

// freeze stops all of the server for a while, as a machine does that swaps or migrates.
func freeze(t *testing.T, driver string) outcome {
	cluster := pgtest.New(t, pgserver.Options{})
	uri := cluster.Database(t)
	l := start(t, open(t, driver, uri), adds)
	l.more(t, 100)
	check.OK(t, cluster.Freeze())
	t.Cleanup(func() { _ = cluster.Thaw() })
	<-time.After(outage())
	check.OK(t, cluster.Thaw())
	l.over(t)
	o := l.end()
	o.opened = cluster.Sessions(t, database(t, uri))
	return o
}
