package faults_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

const adds = "select $1::int8 + $2::int8"

// cancelStorm has every fifth statement run into a deadline of 5 ms, with half as many connections as workers.
func cancelStorm(t *testing.T, driver string) outcome {
	cluster := pgtest.Shared(t)
	uri := cluster.Database(t)
	l := &load{db: open(t, driver, uri), failed: map[string]int{}, stop: func() {}}
	l.db.SetMaxOpenConns(workers / 2)
	l.db.SetMaxIdleConns(workers / 2)
	end := time.Now().Add(atMost(5*time.Second, time.Second))
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for n := 1; time.Now().Before(end); n++ {
				if n%5 > 0 {
					l.run(t.Context(), adds, i, n)
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				_, _ = l.db.ExecContext(ctx, "select pg_sleep($1)", 10)
				cancel()
			}
		})
	}
	wg.Wait()
	o := l.end()
	o.opened = cluster.Sessions(t, database(t, uri))
	return o
}

// idleTransactions cancels the contexts of 50 transactions, one after the other, between two statements.
func idleTransactions(t *testing.T, driver string) outcome {
	cluster := pgtest.Shared(t)
	uri := cluster.Database(t)
	l := &load{db: open(t, driver, uri), failed: map[string]int{}, stop: func() {}}
	for i := range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		tx, err := l.db.BeginTx(ctx, nil)
		check.OK(t, err)
		_, err = tx.ExecContext(ctx, adds, i, i)
		l.note(err)
		cancel()
		_ = tx.Rollback()
	}
	o := l.end()
	o.opened = cluster.Sessions(t, database(t, uri))
	return o
}

// terminated ends all backends of the database again and again.
func terminated(t *testing.T, driver string) outcome {
	cluster := pgtest.Shared(t)
	uri := cluster.Database(t)
	l := start(t, open(t, driver, uri), adds)
	for range atMost(10, 3) {
		l.more(t, 1000)
		_, err := cluster.Admin(t).Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", database(t, uri))
		check.OK(t, err)
	}
	l.over(t)
	o := l.end()
	o.opened = cluster.Sessions(t, database(t, uri))
	return o
}

// reset closes all connections, as a firewall does that is restarted.
func reset(t *testing.T, driver string) outcome {
	cluster := pgtest.Shared(t)
	uri := cluster.Database(t)
	proxy := pgtest.NewProxy(t, cluster)
	l := start(t, open(t, driver, proxy.URI(database(t, uri))), adds)
	for range atMost(10, 3) {
		l.more(t, 1000)
		proxy.Cut()
	}
	l.over(t)
	o := l.end()
	o.opened = cluster.Sessions(t, database(t, uri))
	return o
}

// outage is how long a server or a network says nothing: longer than a statement's deadline and what cancelling it takes.
func outage() time.Duration { return atMost(5*time.Second, 3500*time.Millisecond) }

// swallowed is a network that takes everything and delivers nothing for a while.
func swallowed(t *testing.T, driver string) outcome {
	cluster := pgtest.Shared(t)
	uri := cluster.Database(t)
	proxy := pgtest.NewProxy(t, cluster)
	l := start(t, open(t, driver, proxy.URI(database(t, uri))), adds)
	l.more(t, 100)
	proxy.Hang()
	<-time.After(outage())
	proxy.Flow()
	l.over(t)
	o := l.end()
	o.opened = cluster.Sessions(t, database(t, uri))
	return o
}
