package pgsafe_test

import (
	"bytes"
	"database/sql"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe"
)

// captureDefault makes slog.Default write to the result until the test ends.
func captureDefault(t *testing.T) *bytes.Buffer {
	t.Helper()
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	var log bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	return &log
}

func TestWarningsOfAConnectionStringAreLogged(t *testing.T) {
	open := func(t *testing.T, dsn string) {
		t.Helper()
		db, err := sql.Open(pgsafe.DriverName, dsn)
		if err != nil {
			t.Fatal(err)
		}
		_ = db.Close()
	}
	t.Run("plain sql.Open warns through slog.Default, once", func(t *testing.T) {
		const dsn = "postgres://u:p@h/db?topology_keys=a.b.c"
		log := captureDefault(t)
		open(t, dsn)
		open(t, dsn)
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "topology_keys") {
			t.Errorf("%d warnings: %s", n, log)
		}
	})
	t.Run("pgsafe_warnings=off leaves the warnings out", func(t *testing.T) {
		log := captureDefault(t)
		open(t, "postgres://u:p@h/db?yb_servers_refresh_interval=1&pgsafe_warnings=off")
		if log.Len() > 0 {
			t.Error(log)
		}
	})
	t.Run("WithLogger takes the warnings from slog.Default", func(t *testing.T) {
		log := captureDefault(t)
		var own bytes.Buffer
		c, err := pgsafe.NewConnector("postgres://u:p@h/db?load_balance=true",
			pgsafe.WithLogger(slog.New(slog.NewTextHandler(&own, nil))))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if log.Len() > 0 || !strings.Contains(own.String(), "load_balance") {
			t.Errorf("default: %s, own: %s", log, &own)
		}
	})
	t.Run("another value of pgsafe_warnings is refused", func(t *testing.T) {
		if _, err := sql.Open(pgsafe.DriverName, "host=h pgsafe_warnings=maybe"); err == nil {
			t.Error("accepted")
		}
	})
}
