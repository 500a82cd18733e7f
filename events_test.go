package pgsafe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/telemetry"
)

// observed opens a database whose log and metrics the test can read.
func observed(t *testing.T, dsn string) (db *sql.DB, log *syncBuffer, reader sdkmetric.Reader) {
	t.Helper()
	log, reader = &syncBuffer{}, sdkmetric.NewManualReader()
	c, err := pgsafe.NewConnector(dsn, pgsafe.WithLogger(slog.New(slog.NewTextHandler(log, nil))),
		pgsafe.WithTelemetry(telemetry.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))))
	check.OK(t, err)
	db = sql.OpenDB(c)
	t.Cleanup(func() { check.OK(t, db.Close()) })
	return db, log, reader
}

// counted returns the count of events with this attribute.
func counted(t *testing.T, reader sdkmetric.Reader, name, attribute string) int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	check.OK(t, reader.Collect(context.WithoutCancel(t.Context()), &all))
	var n int64
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			data, ok := m.Data.(metricdata.Sum[int64])
			if m.Name != name || !ok {
				continue
			}
			for _, p := range data.DataPoints {
				for _, a := range p.Attributes.ToSlice() {
					if a.Value.AsString() == attribute {
						n += p.Value
					}
				}
			}
		}
	}
	return n
}

func TestEvents(t *testing.T) {
	t.Run("cancel requests are counted", func(t *testing.T) {
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		db, log, reader := observed(t, uri)
		admin := cluster.Admin(t)
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := db.ExecContext(ctx, "select pg_sleep(60)")
				done <- err
			}()
			pgtest.Eventually(t, "the statement runs", func() bool {
				var n int
				check.OK(t, admin.QueryRow(t.Context(),
					"select count(*) from pg_stat_activity where datname = $1 and wait_event = 'PgSleep'",
					databaseOf(t, uri)).Scan(&n))
				return n == 1
			})
			cancel()
			check.Equal(t, pgsafe.KindOf(<-done), pgsafe.KindCanceled)
		}
		check.Equal(t, counted(t, reader, "pgsafe.cancels", "taken"), 3)
		check.Equal(t, counted(t, reader, "pgsafe.cancels", "closed"), 0)
		check.Equal(t, strings.Contains(log.String(), "cancelled"), false)
	})
	t.Run("cancel requests that fail are all counted, and few of them are logged", func(t *testing.T) {
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		dsn := with(proxy.URI(databaseName(t, pgtest.Shared(t).Database(t))), "pgsafe_cancel_timeout=200ms")
		db, log, reader := observed(t, dsn)
		holdAll(t, db, 10)()
		db.SetMaxIdleConns(10)
		holdAll(t, db, 10)()
		proxy.Hang()
		inParallel(t, 10, func(int) error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if _, err := db.ExecContext(ctx, "select pg_sleep(60)"); err == nil {
				return fmt.Errorf("the statement was not cancelled")
			}
			return nil
		})
		closed := counted(t, reader, "pgsafe.cancels", "closed")
		logged := strings.Count(log.String(), "could not be cancelled")
		t.Logf("%d requests not taken, %d records", closed, logged)
		if closed < 2 || logged < 1 || int64(logged) >= closed {
			t.Error("want several requests, and fewer records than that, but one")
		}
	})
	t.Run("a failure of the server is counted and logged once", func(t *testing.T) {
		uri := pgtest.Shared(t).Database(t)
		db, log, reader := observed(t, uri)
		holdAll(t, db, 3)()
		watch(t, uri).terminate()
		check.OK(t, db.PingContext(t.Context()))
		check.Equal(t, counted(t, reader, "pgsafe.recoveries", "generation"), 1)
		check.Equal(t, strings.Count(log.String(), "57P01"), 1)
	})
	t.Run("a statement that is left to database/sql to repeat is counted and logged", func(t *testing.T) {
		cluster := pgtest.Shared(t)
		uri := cluster.Database(t)
		db, log, reader := observed(t, uri)
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, conn.PingContext(t.Context()))
		check.Equal(t, counted(t, reader, "pgsafe.recoveries", "statement"), 0)
		endAll(t, cluster, databaseOf(t, uri))
		gone(t, cluster, databaseOf(t, uri))
		_, err = conn.ExecContext(t.Context(), "select $1::int", 1)
		check.Equal(t, errors.Is(err, driver.ErrBadConn), true)
		check.Equal(t, counted(t, reader, "pgsafe.recoveries", "statement"), 1)
		check.Equal(t, strings.Count(log.String(), "cause=statement"), 1)
	})
	t.Run("a connect that succeeds after refusals is counted and logged", func(t *testing.T) {
		cluster := pgtest.New(t, pgserver.Options{})
		check.OK(t, cluster.Halt(pgserver.Fast))
		db, log, reader := observed(t, cluster.URI("postgres"))
		done := make(chan error, 1)
		go func() { done <- db.PingContext(t.Context()) }()
		pgtest.Eventually(t, "it was refused", func() bool { return statsOf(t, db).Opened >= 2 })
		check.Equal(t, counted(t, reader, "pgsafe.recoveries", "connect"), 0)
		check.OK(t, cluster.Restart(t.Context()))
		check.OK(t, <-done)
		check.Equal(t, counted(t, reader, "pgsafe.recoveries", "connect"), 1)
		check.Equal(t, strings.Count(log.String(), "cause=connect"), 1)
	})
}

// databaseName returns the name of the database in a URI.
func databaseName(t *testing.T, uri string) string {
	t.Helper()
	config, err := pgx.ParseConfig(uri)
	check.OK(t, err)
	return config.Database
}

// TestTheTableOfFailuresNamesItsTests checks that each row of docs/failure-behaviour.md names a
// test that exists. The words after the name, if any, must be in the test's file.
func TestTheTableOfFailuresNamesItsTests(t *testing.T) {
	text, err := os.ReadFile("docs/failure-behaviour.md")
	check.OK(t, err)
	files := map[string]string{}
	for _, pattern := range []string{"*_test.go", "internal/*/*_test.go", "telemetry/*_test.go", "bench/*_test.go"} {
		paths, err := filepath.Glob(pattern)
		check.OK(t, err)
		for _, path := range paths {
			source, err := os.ReadFile(path)
			check.OK(t, err)
			files[path] = string(source)
		}
	}
	named := regexp.MustCompile("`((?:Test|Benchmark)\\w+)`(?:: ([^`|;]+))?")
	rows := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| When") {
			continue
		}
		rows++
		found := named.FindAllStringSubmatch(line, -1)
		if len(found) == 0 {
			t.Errorf("no test is named in: %s", line)
		}
		for _, test := range found {
			pinned := false
			for _, source := range files {
				pinned = pinned || strings.Contains(source, "func "+test[1]+"(") &&
					strings.Contains(source, strings.TrimSpace(test[2]))
			}
			if !pinned {
				t.Errorf("there is no test %s with the words %q", test[1], strings.TrimSpace(test[2]))
			}
		}
	}
	if rows < 20 {
		t.Errorf("the test sees only %d rows of the table", rows)
	}
}
