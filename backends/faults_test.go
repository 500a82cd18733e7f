//go:build backends

package backends

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// TestDashboards breaks a program in each way that the dashboard and the alerts are for, and asks
// Prometheus, which scrapes it, each of their queries.
func TestDashboards(t *testing.T) {
	prometheus := startPrometheus(t, exportMetrics(t), rulesFile)
	p := &program{t: t, cluster: pgtest.Shared(t), prometheus: prometheus}
	p.ctx, p.cancel = context.WithCancel(t.Context())
	t.Cleanup(p.end)
	p.serverAway()
	p.poolFull()
	p.certificates()
	p.stateLeftBehind()
	p.leftOpen()
	p.retried()
	p.canceled()
	p.hidden()
	p.failing()
	p.churns()

	for _, alert := range alerts(t) {
		t.Run("the alert is pending or fires: "+alert, func(t *testing.T) {
			p.answered(t, question{alert, `ALERTS{alertname="` + alert + `"}`})
		})
	}
	for _, q := range append(dashboardQueries(t), ruleQueries(t)...) {
		t.Run("Prometheus has an answer for "+q.name, func(t *testing.T) { p.answered(t, q) })
	}
	for name, kind := range instruments(t) {
		t.Run(name+" is a "+kind, func(t *testing.T) {
			if got := prometheus.kindOf(t, name); got != kind {
				t.Errorf("Prometheus takes it for a %q", got)
			}
		})
	}
	t.Run("pgsafe has no other instrument", func(t *testing.T) { prometheus.knowsNoOther(t) })
}

// program is the application that is broken.
type program struct {
	t          *testing.T
	cluster    *pgtest.Cluster
	prometheus *backend

	ctx    context.Context // of what goes on until the end
	cancel context.CancelFunc
	work   sync.WaitGroup
	dbs    []*sql.DB
}

func (p *program) end() {
	p.cancel()
	p.work.Wait()
	for _, db := range p.dbs {
		check.OK(p.t, db.Close())
	}
}

func (p *program) open(dsn string) *sql.DB {
	p.t.Helper()
	db, err := sql.Open("pgsafe", dsn)
	check.OK(p.t, err)
	p.dbs = append(p.dbs, db)
	return db
}

// goOn repeats f until the end.
func (p *program) goOn(f func(context.Context)) {
	p.work.Go(func() {
		for p.ctx.Err() == nil {
			f(p.ctx)
		}
	})
}

// answered waits until Prometheus has an answer to q.
func (p *program) answered(t *testing.T, q question) {
	t.Helper()
	pgtest.Eventually(t, q.promQL+" has an answer", func() bool {
		// A percentile of nothing is NaN: most pools of the program are idle by now.
		return slices.ContainsFunc(p.prometheus.query(t, q.promQL), func(v float64) bool { return !math.IsNaN(v) })
	})
}

// alertQuery is the query of an alert.
func (p *program) alertQuery(alert string) question {
	for _, q := range ruleQueries(p.t) {
		if q.name == "the rule "+alert {
			return q
		}
	}
	p.t.Fatal("there is no rule ", alert)
	return question{}
}

// serverAway stops a server under requests that go on.
func (p *program) serverAway() {
	server := pgtest.New(p.t, pgserver.Options{})
	db := p.open(server.URI(""))
	check.OK(p.t, db.PingContext(p.ctx))
	check.OK(p.t, server.Halt(pgserver.Fast))
	p.goOn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _ = db.ExecContext(ctx, "SELECT 1")
	})
}

// poolFull has three callers use a pool of one connection, 0.6 seconds at a time, and another one give up.
func (p *program) poolFull() {
	db := p.open(p.cluster.Database(p.t) + "&pool_max_conns=1")
	check.OK(p.t, db.PingContext(p.ctx))
	for range 3 {
		p.goOn(func(ctx context.Context) { _, _ = db.ExecContext(ctx, "SELECT pg_sleep(0.6)") })
	}
	pgtest.Eventually(p.t, "callers wait", func() bool { return stats(p.t, db).Waiting > 0 })
	giveUp(p.t, db)
}

func stats(t *testing.T, db *sql.DB) pgsafe.Stats {
	t.Helper()
	c, ok := pgsafe.ConnectorOf(db)
	check.Equal(t, ok, true)
	return c.Stats()
}

// certificates uses a client certificate that expires in an hour, and one that has expired.
func (p *program) certificates() {
	cluster := pgtest.ClientCert(p.t)
	for _, lifetime := range []time.Duration{time.Hour, -time.Hour} {
		uri, _, _ := strings.Cut(cluster.Database(p.t), "?")
		cert, key, err := cluster.ClientCertWith("postgres", pgserver.CertOptions{Lifetime: lifetime})
		check.OK(p.t, err)
		db := p.open(uri + "?sslmode=verify-full&sslrootcert=" + cluster.CAFile() + "&sslcert=" + cert + "&sslkey=" + key)
		if err := db.PingContext(p.ctx); errors.Is(err, pgsafe.ErrCertificateExpired) != (lifetime < 0) {
			p.t.Fatal(err)
		}
	}
}

// stateLeftBehind leaves a subscription behind in the server's session.
func (p *program) stateLeftBehind() {
	_, err := p.open(p.cluster.Database(p.t)).ExecContext(p.ctx, "LISTEN news")
	check.OK(p.t, err)
}

// leftOpen has sessions go on that forget to close rows.
func (p *program) leftOpen() {
	db := p.open(p.cluster.Database(p.t))
	p.goOn(func(ctx context.Context) {
		_ = session.Do(ctx, db, func(ctx context.Context) error {
			_, err := db.QueryContext(ctx, "SELECT n FROM generate_series(1, 10000) AS n, pg_sleep(0.1)")
			return err
		})
	})
}

// retried has a transaction lose to another one, and run again.
func (p *program) retried() {
	db := p.open(p.cluster.Database(p.t))
	lost := false
	opts := &session.TxOptions{Retries: 1}
	check.OK(p.t, session.Tx(p.ctx, db, opts, func(ctx context.Context) error {
		if lost {
			return nil
		}
		lost = true
		_, err := db.ExecContext(ctx, "DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = 'serialization_failure'; END $$")
		return err
	}))
}

// canceled ends the context of a statement that runs.
func (p *program) canceled() {
	uri := p.cluster.Database(p.t)
	db := p.open(uri)
	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, "SELECT pg_sleep(60)")
		done <- err
	}()
	database, _, _ := strings.Cut(uri[strings.LastIndex(uri, "/")+1:], "?")
	pgtest.Eventually(p.t, "the statement runs", func() bool {
		var n int
		check.OK(p.t, p.cluster.Admin(p.t).QueryRow(p.ctx,
			"SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'", database).Scan(&n))
		return n == 1
	})
	cancel()
	check.Equal(p.t, pgsafe.KindOf(<-done), pgsafe.KindCanceled)
}

// hidden has a server come back while a caller waits, which does not see that it was away.
func (p *program) hidden() {
	server := pgtest.New(p.t, pgserver.Options{})
	check.OK(p.t, server.Halt(pgserver.Fast))
	db := p.open(server.URI(""))
	done := make(chan error, 1)
	go func() { done <- db.PingContext(p.ctx) }()
	pgtest.Eventually(p.t, "it was refused", func() bool { return stats(p.t, db).Opened >= 2 })
	check.OK(p.t, server.Restart(p.ctx))
	check.OK(p.t, <-done)
}

// failing runs statements of which one in two fails.
func (p *program) failing() {
	db := p.open(p.cluster.Database(p.t))
	for range 20 {
		_, err := db.ExecContext(p.ctx, "SELECT 1/$1::int", 1)
		check.OK(p.t, err)
		if _, err = db.ExecContext(p.ctx, "SELECT 1/$1::int", 0); err == nil {
			p.t.Fatal("a division by zero has a result")
		}
	}
	p.goOn(func(ctx context.Context) {
		_, _ = db.ExecContext(ctx, "SELECT 1/$1::int, pg_sleep(0.1)", 0)
	})
}

// churns ends each connection after one use, until Prometheus sees enough of it.
func (p *program) churns() {
	db := p.open(p.cluster.Database(p.t))
	churn := p.alertQuery("PgsafeChurn")
	for n := 0; len(p.prometheus.query(p.t, churn.promQL)) == 0; n++ {
		if n == 100 {
			p.t.Fatal("1,000 connections in the shortest time are no churn")
		}
		for range 10 {
			_, _ = db.ExecContext(p.ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
		}
	}
}
