package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/session"
	"github.com/pgsafe/pgsafe/telemetry"
)

// TestTheTablesListAllThatIsEmitted compares the tables of doc.go and docs/telemetry.md with the
// output of a program that emits every name.
func TestTheTablesListAllThatIsEmitted(t *testing.T) {
	seen := emitted(t)
	doc := sections(t, "doc.go")
	for _, tt := range []struct {
		section string
		seen    map[string]string
	}{
		{"Attributes of spans", seen.attributes},
		{"Events on spans", seen.events},
		{"Metrics", seen.metrics},
	} {
		t.Run("doc.go lists all "+strings.ToLower(tt.section), func(t *testing.T) { compare(t, doc[tt.section], tt.seen) })
		t.Run("docs/telemetry.md lists all "+strings.ToLower(tt.section), func(t *testing.T) {
			compare(t, markdown(t, "../docs/telemetry.md")[tt.section], tt.seen)
		})
	}
}

// compare checks that both have the same names, and that each description begins as in seen.
func compare(t *testing.T, written, seen map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(written)) {
		what, there := seen[name]
		if !there {
			t.Errorf("%s is in the table and is not emitted", name)
		} else if !strings.HasPrefix(written[name], what) {
			t.Errorf("%s is %q in the table, and should begin with %q", name, written[name], what)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if _, there := written[name]; !there {
			t.Errorf("%s is emitted and is not in the table", name)
		}
	}
}

// sections parses the tables in a package comment: a line that ends in a colon, then indented
// lines.
func sections(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	check.OK(t, err)
	all := map[string]map[string]string{}
	title := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(strings.TrimPrefix(line, "//"), "\n")
		if heading, ok := strings.CutSuffix(line, ":"); ok {
			title = strings.TrimSpace(heading)
			all[title] = map[string]string{}
		} else if row, ok := strings.CutPrefix(line, "\t"); ok {
			addRow(all[title], regexp.MustCompile(` {2,}`).Split(row, -1))
		}
	}
	return all
}

// markdown parses the tables of a page: a heading, then rows with names in backquotes.
func markdown(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	check.OK(t, err)
	all := map[string]map[string]string{}
	title := ""
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			title = strings.TrimSpace(heading)
			all[title] = map[string]string{}
		} else if strings.HasPrefix(line, "| `") {
			cells := strings.Split(strings.Trim(strings.ReplaceAll(line, "`", ""), "| \n"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			addRow(all[title], cells)
		}
	}
	return all
}

// addRow adds the names in the first cell, with the other cells as their description.
func addRow(table map[string]string, cells []string) {
	for _, name := range strings.FieldsFunc(cells[0], func(c rune) bool { return c == ' ' || c == ',' }) {
		table[name] = strings.Join(cells[1:], " ")
	}
}

// names are the emitted names, each with the required beginning of its description.
type names struct{ attributes, events, metrics map[string]string }

func emitted(t *testing.T) names {
	r := oteltest.New(t)
	metrics := everything(t, r)
	seen := names{map[string]string{}, map[string]string{}, map[string]string{}}
	number := regexp.MustCompile(`\.\d+$`)
	for _, s := range r.Spans.Ended() {
		for _, e := range s.Events() {
			seen.events[e.Name] = ""
		}
		if s.InstrumentationScope().Name == "app" {
			continue
		}
		for _, a := range s.Attributes() {
			seen.attributes[number.ReplaceAllString(string(a.Key), ".<n>")] = ""
		}
	}
	for name, m := range metrics {
		seen.metrics[name] = kindOf(t, m) + " " + m.Unit
	}
	return seen
}

func kindOf(t *testing.T, m metricdata.Metrics) string {
	switch data := m.Data.(type) {
	case metricdata.Histogram[float64], metricdata.Histogram[int64]:
		return "histogram"
	case metricdata.Gauge[float64]:
		return "gauge"
	case metricdata.Sum[int64]:
		if data.IsMonotonic {
			return "counter"
		}
		return "updowncounter"
	}
	t.Errorf("%s has a kind that the table does not use", m.Name)
	return ""
}

// everything emits every name, and returns the metrics from before the pool was closed.
func everything(t *testing.T, r *oteltest.Recorder) map[string]metricdata.Metrics {
	ctx := context.Background()
	uri := strings.Replace(pgtest.SharedTLS(t).URI(""), "127.0.0.1", "localhost", 1)
	cert, key, err := pgtest.SharedTLS(t).ClientCert(pgtest.TLSUser)
	check.OK(t, err)
	uri += "&sslcert=" + cert + "&sslkey=" + key
	db, err := pgsafe.Open(uri+"&pool_max_conns=1&target_session_attrs=read-write&pool_ping_after=1ns",
		pgsafe.WithTelemetry(telemetry.WithTracerProvider(r.Tracer), telemetry.WithMeterProvider(r.Meter), telemetry.WithQueryParameters()))
	check.OK(t, err)
	conn, err := db.Conn(ctx)
	check.OK(t, err)
	_, err = conn.ExecContext(ctx, "SELECT $1::int", 1)
	check.OK(t, err)
	exec(t, conn, ctx, "CREATE TEMP TABLE t (id int)")
	exec(t, conn, ctx, "INSERT INTO t VALUES (1)")
	exec(t, conn, ctx, "CREATE TEMP TABLE u (id int PRIMARY KEY, name text NOT NULL)")
	for _, text := range []string{"INSERT INTO u VALUES (1, 'a'), (1, 'b')", "INSERT INTO u VALUES (2, NULL)"} {
		if _, err := conn.ExecContext(ctx, text); err == nil {
			t.Errorf("%s succeeds", text)
		}
	}
	exec(t, conn, ctx, "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY")
	exec(t, conn, ctx, "COMMIT")
	check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue("SELECT 1/$1::int", 0)
		b.Queue("SELECT 2")
		_ = c.SendBatch(ctx, b).Close() // fails: a division by zero
		return nil
	}))
	r.Within("a wait that fails", func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		_ = db.PingContext(ctx)
	})
	canceled, cancel := context.WithCancel(ctx)
	go func() {
		pgtest.Eventually(t, "the statement runs", func() bool { return pgtest.SharedTLS(t).Activity(t, "") > 0 })
		cancel()
	}()
	_, _ = conn.ExecContext(canceled, "SELECT pg_sleep(30)")
	afterReset := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, "SELECT 1")
		afterReset <- err
	}()
	c, _ := pgsafe.ConnectorOf(db)
	pgtest.Eventually(t, "a caller waits", func() bool { return c.Stats().Waiting == 1 })
	check.OK(t, conn.Close()) // it has a temporary table
	check.OK(t, <-afterReset)
	inSession(t, db)
	_, err = db.ExecContext(session.WithSettings(ctx, map[string]string{"app.tenant": "one"}), "SELECT 1")
	check.OK(t, err)
	replan(t, db)
	refuseWrites(t, db)
	failToConnect(t, uri, r)
	waitInPgxpool(t, uri, r)
	rows, err := db.Query("SELECT * FROM generate_series(1, 3)")
	check.OK(t, err)
	metrics := r.Metrics()
	check.OK(t, db.Close())
	check.OK(t, rows.Close())
	return metrics
}

// inSession emits what sessions and their transactions have. It leaves rows open.
func inSession(t *testing.T, db *sql.DB) {
	t.Helper()
	lost := &pgconn.PgError{Code: "40001"}
	check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
		for range 2 {
			_, err := db.ExecContext(ctx, "SELECT 1")
			check.OK(t, err)
		}
		return session.Tx(ctx, db, &session.TxOptions{Retries: 1}, func(ctx context.Context) error {
			if session.Attempt(ctx) == 1 {
				return lost
			}
			_, err := db.QueryContext(ctx, "SELECT * FROM generate_series(1, 3)")
			return err
		})
	}, session.WithRepeatLimit(1)))
}

// replan runs a query again whose plan the server refuses.
func replan(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, text := range []string{
		"CREATE TABLE IF NOT EXISTS replanned (id int)", "SELECT * FROM replanned WHERE id = $1",
		"ALTER TABLE replanned ADD COLUMN name text", "SELECT * FROM replanned WHERE id = $1", "DROP TABLE replanned",
	} {
		var args []any
		if strings.Contains(text, "$1") {
			args = []any{1}
		}
		rows, err := db.Query(text, args...)
		check.OK(t, err)
		check.OK(t, rows.Close())
	}
}

// failToConnect has a dial fail.
func failToConnect(t *testing.T, uri string, r *oteltest.Recorder) {
	t.Helper()
	db, err := pgsafe.Open(uri, pgsafe.WithTelemetry(telemetry.WithMeterProvider(r.Meter)),
		pgsafe.WithBeforeConnect(func(context.Context, *pgx.ConnConfig) error { return errors.New("not now") }))
	check.OK(t, err)
	if db.Ping() == nil {
		t.Error("a connection was made")
	}
	check.OK(t, db.Close())
}

// waitInPgxpool has an acquire of a pgxpool fail.
func waitInPgxpool(t *testing.T, uri string, r *oteltest.Recorder) {
	t.Helper()
	config, err := pgsafe.NewPoolConfig(uri+"&pool_max_conns=1", pgsafe.WithTelemetry(telemetry.WithTracerProvider(r.Tracer)))
	check.OK(t, err)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	check.OK(t, err)
	defer pool.Close()
	held, err := pool.Acquire(t.Context())
	check.OK(t, err)
	defer held.Release()
	r.Within("a wait that fails", func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		if _, err := pool.Acquire(ctx); err == nil {
			t.Error("there is a second connection")
		}
	})
}

// refuseWrites has the server refuse a write, as one does that has become a standby. All connections are renewed then.
func refuseWrites(t *testing.T, db *sql.DB) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	check.OK(t, err)
	exec(t, conn, t.Context(), "SET default_transaction_read_only = on")
	if _, err := conn.ExecContext(t.Context(), "CREATE TABLE refused ()"); pgsafe.SQLState(err) != "25006" {
		t.Errorf("the write was not refused: %v", err)
	}
	check.OK(t, conn.Close())
}

func exec(t *testing.T, conn *sql.Conn, ctx context.Context, text string) {
	t.Helper()
	_, err := conn.ExecContext(ctx, text)
	check.OK(t, err)
}
