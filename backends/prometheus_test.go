//go:build backends

package backends

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// The load.
const (
	poolMax = 3  // connections, and transactions that hold one each
	poolMin = 1  // connections kept open
	waiters = 2  // statements that wait for a connection until the transactions end
	rows    = 40 // returned by one statement in each transaction
)

func TestPrometheus(t *testing.T) {
	cluster := pgtest.Shared(t)
	prometheus := startPrometheus(t, exportMetrics(t), "")
	uri := cluster.Database(t)
	db, err := sql.Open("pgsafe", fmt.Sprintf("%s&pool_max_conns=%d&pool_min_idle_conns=%d", uri, poolMax, poolMin))
	check.OK(t, err)
	defer db.Close()
	u, err := url.Parse(uri)
	check.OK(t, err)
	database := strings.TrimPrefix(u.Path, "/")

	holders := holdAll(t, db)
	giveUp(t, db)
	release := queueUp(t, db)
	t.Run("a full pool is used up to its cap, and other callers wait", func(t *testing.T) {
		prometheus.shows(t, `db_client_connection_count{db_client_connection_state="used"}`, poolMax)
		prometheus.shows(t, `db_client_connection_count{db_client_connection_state="idle"}`, 0)
		prometheus.shows(t, `db_client_connection_max`, poolMax)
		prometheus.shows(t, `db_client_connection_idle_max`, poolMax)
		prometheus.shows(t, `db_client_connection_idle_min`, poolMin)
		prometheus.shows(t, `db_client_connection_pending_requests`, waiters)
		prometheus.shows(t, `db_client_connection_timeouts_total`, 1)
	})
	for _, tx := range holders {
		check.OK(t, tx.Rollback())
	}
	release()
	fail(t, db)
	t.Run("an idle pool has as many connections as the server sees", func(t *testing.T) {
		prometheus.shows(t, `db_client_connection_count{db_client_connection_state="used"}`, 0)
		prometheus.shows(t, `sum(db_client_connection_count)`, float64(cluster.Activity(t, database)))
		prometheus.shows(t, `db_client_connection_pending_requests`, 0)
	})
	t.Run("connects, waits and uses are counted and timed", func(t *testing.T) {
		prometheus.shows(t, `db_client_connection_create_time_seconds_count`, float64(cluster.Sessions(t, database)))
		prometheus.shows(t, `db_client_connection_create_time_seconds_sum > bool 0`, 1)
		prometheus.shows(t, `db_client_connection_wait_time_seconds_count >= bool 5`, 1)
		prometheus.shows(t, `db_client_connection_wait_time_seconds_sum > bool 0`, 1)
		prometheus.shows(t, `db_client_connection_use_time_seconds_count`, poolMax+waiters+2)
		prometheus.shows(t, `db_client_connection_use_time_seconds_sum > bool 0`, 1)
	})
	t.Run("statements are timed by their summary, and failures by their SQLSTATE", func(t *testing.T) {
		prometheus.shows(t, `sum(db_client_operation_duration_seconds_count{db_query_summary="BEGIN"})`, poolMax)
		prometheus.shows(t, `sum(db_client_operation_duration_seconds_count{db_query_summary="ROLLBACK"})`, poolMax)
		prometheus.shows(t, `sum(db_client_operation_duration_seconds_count{error_type="23505",
			db_response_status_code="23505",db_query_summary="INSERT names",db_system_name="postgresql"})`, 1)
		prometheus.shows(t, `sum(db_client_operation_duration_seconds_sum) > bool 0`, 1)
		prometheus.shows(t, `sum(db_client_response_returned_rows_sum)`, poolMax*rows)
	})
	for _, question := range questions(t) {
		t.Run("the guide's question has an answer: "+question, func(t *testing.T) {
			pgtest.Eventually(t, "it has", func() bool { return len(prometheus.query(t, question)) > 0 })
		})
	}
}

// exportMetrics makes OpenTelemetry's global provider of meters one that Prometheus can read at the host and port that
// are returned.
func exportMetrics(t *testing.T) (target string) {
	t.Helper()
	registry := prom.NewRegistry()
	exporter, err := prometheus.New(prometheus.WithRegisterer(registry))
	check.OK(t, err)
	provider := metric.NewMeterProvider(metric.WithReader(exporter))
	otel.SetMeterProvider(provider)
	server := httptest.NewServer(promhttp.HandlerFor(registry,
		promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	t.Cleanup(func() {
		server.Close()
		otel.SetMeterProvider(noop.NewMeterProvider())
		check.OK(t, provider.Shutdown(context.Background()))
	})
	return server.Listener.Addr().String()
}

// startPrometheus starts a Prometheus that scrapes target all the time, with the rules of a file, or
// "" for none.
func startPrometheus(t *testing.T, target, rules string) *backend {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("%v: scripts/backends.sh installs it, and so does apt-get install prometheus", err)
	}
	dir := scratch(t)
	config := filepath.Join(dir, "prometheus.yml")
	text := `
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}
scrape_configs: [{job_name: pgsafe, static_configs: [{targets: ["` + target + `"]}]}]
`
	if rules != "" {
		absolute, err := filepath.Abs(rules)
		check.OK(t, err)
		text += "rule_files: [" + strconv.Quote(absolute) + "]\n"
	}
	check.OK(t, os.WriteFile(config, []byte(text), 0o600))
	api := "http://" + freeAddresses(t, 1)[0]
	return start(t, api, api+"/-/ready", program, "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+strings.TrimPrefix(api, "http://"))
}

// holdAll begins as many transactions as the pool has connections, with a statement in each that returns rows.
func holdAll(t *testing.T, db *sql.DB) []*sql.Tx {
	t.Helper()
	holders := make([]*sql.Tx, poolMax)
	for i := range holders {
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		holders[i] = tx
		found, err := tx.QueryContext(t.Context(), "SELECT n FROM generate_series(1, $1) AS n", rows)
		check.OK(t, err)
		for found.Next() {
		}
		check.OK(t, found.Err())
	}
	return holders
}

// giveUp asks for a connection that it does not get in time.
func giveUp(t *testing.T, db *sql.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a full pool gave a connection: %v", err)
	}
}

// queueUp lets statements wait for connections. finish returns when they have run.
func queueUp(t *testing.T, db *sql.DB) (finish func()) {
	t.Helper()
	var waiting sync.WaitGroup
	for range waiters {
		waiting.Go(func() {
			if _, err := db.ExecContext(t.Context(), "SET application_name = 'waited'"); err != nil {
				t.Error(err)
			}
		})
	}
	return waiting.Wait
}

// fail runs a statement that violates a constraint.
func fail(t *testing.T, db *sql.DB) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), `CREATE TABLE names (name text UNIQUE); INSERT INTO names VALUES ('a')`)
	check.OK(t, err)
	if _, err = db.ExecContext(t.Context(), `INSERT INTO names VALUES ('a')`); err == nil {
		t.Fatal("a unique column took the same value twice")
	}
}

// shows waits until the answer to a question in PromQL is one number, and that one.
func (b *backend) shows(t *testing.T, promQL string, want float64) {
	t.Helper()
	var got []float64
	defer func() {
		if t.Failed() {
			t.Logf("%s is %v", promQL, got)
		}
	}()
	pgtest.Eventually(t, fmt.Sprintf("%s is %v", promQL, want), func() bool {
		got = b.query(t, promQL)
		return len(got) == 1 && got[0] == want
	})
}

// query asks a question in PromQL, and returns the latest value of each time series in the answer.
func (b *backend) query(t *testing.T, promQL string) (values []float64) {
	t.Helper()
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	b.ask(t, "/api/v1/query", url.Values{"query": {promQL}}, &answer)
	for _, series := range answer.Data.Result {
		text, _ := series.Value[1].(string) // beside the time
		value, err := strconv.ParseFloat(text, 64)
		check.OK(t, err)
		values = append(values, value)
	}
	return values
}

// metadata maps the instruments' names to what Prometheus knows of them.
func (b *backend) metadata(t *testing.T) map[string][]struct{ Type string } {
	t.Helper()
	var answer struct {
		Data map[string][]struct{ Type string }
	}
	b.ask(t, "/api/v1/metadata", nil, &answer)
	return answer.Data
}

// kindOf returns the type of an instrument, "" if there is none.
func (b *backend) kindOf(t *testing.T, name string) string {
	t.Helper()
	if known := b.metadata(t)[name]; len(known) == 1 {
		return known[0].Type
	}
	return ""
}

// knowsNoOther fails if anything is measured that is not in the guide.
func (b *backend) knowsNoOther(t *testing.T) {
	t.Helper()
	others := b.metadata(t)
	delete(others, "target_info") // the resource, which the exporter adds
	for name := range instruments(t) {
		delete(others, name)
	}
	for name := range others {
		t.Error(name)
	}
}
