package pgsafeexpvar_test

import (
	"database/sql"
	"encoding/json"
	"expvar"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/pgsafeexpvar"
)

func TestPublish(t *testing.T) {
	t.Run("the variable shows a caller that waits for a full pool, and its wait afterwards", func(t *testing.T) {
		db, err := sql.Open(pgsafe.DriverName, pgtest.Shared(t).Database(t)+"&pool_max_conns=1")
		check.OK(t, err)
		defer db.Close()
		check.OK(t, pgsafeexpvar.Publish("orders_db", db))
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		check.Equal(t, read(t, "max"), 1)
		check.Equal(t, read(t, "in_use"), 1)
		waited := read(t, "waited")
		waiter := make(chan error)
		go func() { waiter <- db.PingContext(t.Context()) }()
		pgtest.Eventually(t, "a caller waits", func() bool { return read(t, "waiting") == 1 })
		check.OK(t, tx.Rollback())
		check.OK(t, <-waiter)
		check.Equal(t, read(t, "waited"), waited+1)
		check.Equal(t, read(t, "wait_seconds") > 0, true)
		check.Equal(t, read(t, "handles_waited"), 0)
	})
	t.Run("a DB of another driver is refused and not published", func(t *testing.T) {
		db, err := sql.Open("pgx", "host=localhost")
		check.OK(t, err)
		defer db.Close()
		if pgsafeexpvar.Publish("foreign", db) == nil || expvar.Get("foreign") != nil {
			t.Error("it is published")
		}
	})
}

// read returns one number of the variable.
func read(t *testing.T, field string) float64 {
	t.Helper()
	var all map[string]float64
	check.OK(t, json.Unmarshal([]byte(expvar.Get("orders_db").String()), &all))
	n, ok := all[field]
	if !ok {
		t.Fatalf("there is no %s in %v", field, all)
	}
	return n
}
