package faults_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

var restarts = []fault{
	{"the server restarts, fast", func(t *testing.T, driver string) outcome { return restarted(t, driver, pgserver.Fast) }},
	{"the server restarts, immediate", func(t *testing.T, driver string) outcome { return restarted(t, driver, pgserver.Immediate) }},
}

func restarted(t *testing.T, driver string, mode pgserver.Mode) outcome {
	cluster := pgtest.New(t, pgserver.Options{})
	uri := cluster.Database(t)
	l := start(t, open(t, driver, uri), adds)
	l.more(t, 100)
	check.OK(t, cluster.Halt(mode))
	check.OK(t, cluster.Restart(t.Context()))
	l.over(t)
	o := l.end()
	o.opened = cluster.Sessions(t, database(t, uri))
	return o
}

// killed is the primary's end; its standby is promoted. Connections are counted that the standby let in.
func killed(t *testing.T, driver string) outcome {
	primary := pgtest.New(t, pgserver.Options{Settings: map[string]string{"synchronous_commit": "on"}})
	_, err := primary.Admin(t).Exec(t.Context(), "create table written (worker int8, n int8)")
	check.OK(t, err)
	standby := pgtest.Standby(t, primary)
	replica := open(t, driver, standby.URI(""))
	pgtest.Eventually(t, "the standby has the table", func() bool {
		var has bool
		return replica.QueryRowContext(t.Context(), "select to_regclass('written') is not null").Scan(&has) == nil && has
	})
	uri := fmt.Sprintf("postgres://postgres@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write",
		primary.Port(), standby.Port())
	l := start(t, open(t, driver, uri), "insert into written values ($1, $2)")
	l.more(t, 100)
	check.OK(t, primary.Kill())
	<-time.After(atMost(time.Second, 300*time.Millisecond)) // until somebody has noticed
	check.OK(t, standby.Promote(t.Context()))
	l.over(t)
	o := l.end()
	o.opened = standby.Sessions(t, "postgres")
	return o
}

// renewed replaces a client certificate all the time, its file before that of its key, under an application whose
// connections are short-lived.
func renewed(t *testing.T, driver string) outcome {
	cluster := pgtest.ClientCert(t)
	uri := cluster.Database(t)
	cert, key := certificate(t, cluster)
	base, _, _ := strings.Cut(uri, "?")
	db := open(t, driver, base+"?sslmode=verify-full&sslrootcert="+cluster.CAFile()+"&sslcert="+cert+"&sslkey="+key)
	db.SetConnMaxLifetime(20 * time.Millisecond)
	l := start(t, db, adds)
	l.more(t, 100)
	for end := time.Now().Add(atMost(5*time.Second, time.Second)); time.Now().Before(end); {
		newCert, newKey := certificate(t, cluster)
		check.OK(t, os.Rename(newCert, cert))
		check.OK(t, os.Rename(newKey, key))
	}
	l.over(t)
	o := l.end()
	o.opened = cluster.Sessions(t, database(t, uri))
	return o
}

func certificate(t *testing.T, cluster *pgtest.Cluster) (cert, key string) {
	t.Helper()
	cert, key, err := cluster.ClientCert("postgres")
	check.OK(t, err)
	return cert, key
}
