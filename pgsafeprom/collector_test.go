package pgsafeprom_test

import (
	"database/sql"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/pgsafeprom"
)

// open opens a database of the test's own, and registers its collector.
func open(t *testing.T, query string) (*sql.DB, *prometheus.Registry) {
	t.Helper()
	db, err := sql.Open(pgsafe.DriverName, pgtest.Shared(t).Database(t)+query)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, db.Close()) })
	c, err := pgsafeprom.NewCollector(db, "orders")
	check.OK(t, err)
	registry := prometheus.NewPedanticRegistry()
	check.OK(t, registry.Register(c))
	return db, registry
}

// gather returns all metrics, each as its name or as name{label=value}, without db_name.
func gather(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	check.OK(t, err)
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() != "db_name" {
					name += "{" + l.GetName() + "=" + l.GetValue() + "}"
				} else {
					check.Equal(t, l.GetValue(), "orders")
				}
			}
			all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

func TestCollector(t *testing.T) {
	t.Run("a caller that waits for a full pool is seen, which client_golang's own collector does not see", func(t *testing.T) {
		db, registry := open(t, "&pool_max_conns=2")
		theirs := prometheus.NewRegistry()
		check.OK(t, theirs.Register(collectors.NewDBStatsCollector(db, "orders")))
		var holders []*sql.Tx
		for range 2 {
			tx, err := db.BeginTx(t.Context(), nil)
			check.OK(t, err)
			holders = append(holders, tx)
		}
		before := gather(t, registry)
		waiter := make(chan error)
		go func() { waiter <- db.PingContext(t.Context()) }()
		pgtest.Eventually(t, "a caller waits", func() bool {
			return gather(t, registry)["pgsafe_pool_waiting_callers"] == 1
		})
		for name, want := range map[string]float64{
			"go_sql_max_open_connections": 2, "go_sql_open_connections": 2, "go_sql_in_use_connections": 2,
			"go_sql_idle_connections": 0, "pgsafe_pool_connections{state=in_use}": 2, "pgsafe_pool_max_connections": 2,
			"pgsafe_pool_dials_total": 2, "pgsafe_pool_dial_failures_total": 0,
		} {
			if got := gather(t, registry)[name]; got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		for _, tx := range holders {
			check.OK(t, tx.Rollback())
		}
		check.OK(t, <-waiter)
		after := gather(t, registry)
		check.Equal(t, after["go_sql_wait_count_total"], before["go_sql_wait_count_total"]+1)
		check.Equal(t, after["go_sql_wait_duration_seconds_total"] > before["go_sql_wait_duration_seconds_total"], true)
		check.Equal(t, after["pgsafe_pool_waits_total"], before["pgsafe_pool_waits_total"]+1)
		check.Equal(t, after["pgsafe_handle_waits_total"], 0)
		blind := gather(t, theirs)
		check.Equal(t, blind["go_sql_wait_count_total"], 0)
		check.Equal(t, blind["go_sql_max_open_connections"], 0)
	})
	t.Run("idle handles of database/sql are not counted as connections", func(t *testing.T) {
		db, registry := open(t, "&pool_max_conns=1")
		check.OK(t, db.PingContext(t.Context()))
		db.SetMaxIdleConns(5)
		pings := make(chan error)
		for range 5 {
			go func() { pings <- db.PingContext(t.Context()) }()
		}
		for range 5 {
			check.OK(t, <-pings)
		}
		pgtest.Eventually(t, "the connection is idle", func() bool {
			return gather(t, registry)["go_sql_idle_connections"] == 1
		})
		check.Equal(t, gather(t, registry)["go_sql_open_connections"], 1)
	})
	t.Run("a wait for a limit of SetMaxOpenConns counts too", func(t *testing.T) {
		db, registry := open(t, "")
		db.SetMaxOpenConns(1)
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		waiter := make(chan error)
		go func() { waiter <- db.PingContext(t.Context()) }()
		pgtest.Eventually(t, "a caller waits for a handle", func() bool { return db.Stats().WaitCount == 1 })
		check.OK(t, tx.Rollback())
		check.OK(t, <-waiter)
		got := gather(t, registry)
		check.Equal(t, got["pgsafe_handle_waits_total"], 1)
		check.Equal(t, got["go_sql_wait_count_total"] >= 1, true)
		check.Equal(t, got["go_sql_max_open_connections"], 1)
	})
	t.Run("the collector has every metric of client_golang's own", func(t *testing.T) {
		db, registry := open(t, "")
		theirs := prometheus.NewRegistry()
		check.OK(t, theirs.Register(collectors.NewDBStatsCollector(db, "orders")))
		ours := gather(t, registry)
		for name := range gather(t, theirs) {
			if _, there := ours[name]; !there {
				t.Errorf("it has no %s", name)
			}
		}
	})
	t.Run("the package comment lists exactly the metrics that are collected", func(t *testing.T) {
		_, registry := open(t, "")
		families, err := registry.Gather()
		check.OK(t, err)
		var collected, listed []string
		for _, f := range families {
			collected = append(collected, f.GetName()+" "+strings.ToLower(f.GetType().String()))
		}
		doc, err := os.ReadFile("doc.go")
		check.OK(t, err)
		for _, line := range regexp.MustCompile(`(?m)^//\t([a-z_]+) +(gauge|counter) `).FindAllStringSubmatch(string(doc), -1) {
			listed = append(listed, line[1]+" "+line[2])
		}
		slices.Sort(listed)
		slices.Sort(collected)
		check.Equal(t, strings.Join(listed, "\n"), strings.Join(collected, "\n"))
	})
	t.Run("a DB of another driver is refused", func(t *testing.T) {
		db, err := sql.Open("pgx", "host=localhost")
		check.OK(t, err)
		defer db.Close()
		if _, err := pgsafeprom.NewCollector(db, "foreign"); err == nil {
			t.Error("it is taken")
		}
	})
}
