//go:build backends

package backends

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"

	_ "github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// jaegerEnv names the environment variable that says where Jaeger's program is: all-in-one of version 1.
// jaegerUIEnv names the one that says where its pages are, if they are not in the program.
const (
	jaegerEnv   = "PGSAFE_JAEGER_BIN"
	jaegerUIEnv = "PGSAFE_JAEGER_UI"
)

const (
	service = "orders"    // the name under which Jaeger knows the service
	host    = "localhost" // the database's, a name that is looked up
)

// What Jaeger shows of each request. Below a name is what it caused, in order; beside it is what makes it differ from
// others of its kind.
const (
	placedTrace = `
POST /orders | server, HTTP 201
  TRANSACTION | internal, commit
    BEGIN | client, "begin"
      pgsafe.pool.wait | internal
    SELECT stock | client, pgsafe.prepare, "SELECT pieces FROM stock WHERE sku = $1 FOR UPDATE", 1 rows
    UPDATE stock | client, "UPDATE stock SET pieces = pieces - ? WHERE sku = ?"
    INSERT orders | client, pgsafe.prepare, "INSERT INTO orders (number, sku, buyer) VALUES ($1, $2, $3)"
    COMMIT | client, "commit"
  CONNECT | client, dns tcp tls auth
`
	refusedTrace = `
POST /orders | server, HTTP 409
  TRANSACTION | internal, rollback
    BEGIN | client, "begin"
    SELECT stock | client, "SELECT pieces FROM stock WHERE sku = $1 FOR UPDATE", 1 rows
    UPDATE stock | client, "UPDATE stock SET pieces = pieces - ? WHERE sku = ?"
    INSERT orders | client, "INSERT INTO orders (number, sku, buyer) VALUES ($1, $2, $3)", error 23505
    ROLLBACK | client, "rollback"
`
	countedTrace = `
GET /orders | server, HTTP 200
  SELECT orders | client, pgsafe.prepare, "SELECT count(*) FROM orders WHERE buyer <> ?", 1 rows
`
)

func TestJaeger(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	jaeger, otlp := startJaeger(t)
	provider := exportTraces(t, otlp)
	database := prepare(t, cluster)
	dsn := fmt.Sprintf("postgresql+psycopg2://%s:%s@%s:%d/%s?sslmode=require",
		pgtest.TLSUser, pgtest.TLSPassword, host, cluster.Port(), database)

	db, err := sql.Open("pgsafe", dsn)
	check.OK(t, err)
	defer db.Close()
	send(t, orders(db), "POST", http.StatusCreated)
	send(t, orders(db), "POST", http.StatusConflict)
	send(t, orders(db), "GET", http.StatusOK)
	check.OK(t, provider.ForceFlush(t.Context()))

	traces, raw := jaeger.traces(t, placedTrace, refusedTrace, countedTrace)
	for i, request := range []struct{ name, want string }{
		{"a transaction is a span between the request and its statements", placedTrace},
		{"a violation of a constraint is its SQLSTATE on the statement, and the transaction's rollback", refusedTrace},
		{"a statement outside a transaction is right below the request", countedTrace},
	} {
		t.Run(request.name, func(t *testing.T) {
			if got := traces[i].String(); got != request.want {
				t.Errorf("Jaeger shows%s\nnot%s", got, request.want)
			}
		})
	}
	t.Run("the guide shows what Jaeger does", func(t *testing.T) {
		for _, tree := range []string{placedTrace, refusedTrace} {
			if !strings.Contains(guide(t), strings.ReplaceAll(strings.TrimSuffix(tree, "\n"), "\n", "\n    ")) {
				t.Errorf("the guide does not show%s", tree)
			}
		}
	})
	t.Run("each of pgsafe's spans names its server and pool", func(t *testing.T) {
		checkServer(t, traces, cluster.Port(), database)
	})
	t.Run("Jaeger receives no secret", func(t *testing.T) { checkSecrets(t, raw) })
}

// startJaeger returns Jaeger and the host and port where it takes spans by OTLP over HTTP.
func startJaeger(t *testing.T) (b *backend, otlp string) {
	t.Helper()
	program := os.Getenv(jaegerEnv)
	if program == "" {
		t.Fatalf("there is no Jaeger: scripts/backends.sh builds one, or set %s to an all-in-one of version 1", jaegerEnv)
	}
	a := freeAddresses(t, 7)
	api := "http://" + a[0]
	args := []string{
		"--query.http-server.host-port=" + a[0], "--collector.otlp.http.host-port=" + a[1],
		"--admin.http.host-port=" + a[2], "--query.grpc-server.host-port=" + a[3],
		"--collector.otlp.grpc.host-port=" + a[4], "--collector.grpc-server.host-port=" + a[5],
		"--collector.http-server.host-port=" + a[6],
	}
	if dir := os.Getenv(jaegerUIEnv); dir != "" {
		args = append(args, "--query.static-files="+dir)
	}
	return start(t, api, "http://"+a[2]+"/", program, args...), a[1]
}

// exportTraces makes OpenTelemetry's global provider of tracers one that sends all spans to endpoint.
func exportTraces(t *testing.T, endpoint string) *trace.TracerProvider {
	t.Helper()
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpoint(endpoint),
		otlptracehttp.WithInsecure(), otlptracehttp.WithHTTPClient(client))
	check.OK(t, err)
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithSampler(trace.AlwaysSample()),
		trace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))))
	otel.SetTracerProvider(provider)
	t.Cleanup(func() {
		otel.SetTracerProvider(noop.NewTracerProvider())
		check.OK(t, provider.Shutdown(context.Background()))
	})
	return provider
}

// prepare makes a database for the service and returns its name.
func prepare(t *testing.T, cluster *pgtest.Cluster) string {
	t.Helper()
	u, err := url.Parse(cluster.Database(t))
	check.OK(t, err)
	database := strings.TrimPrefix(u.Path, "/")
	_, err = cluster.AdminIn(t, database).Exec(t.Context(), schema)
	check.OK(t, err)
	return database
}

// send makes a request, always for the same order.
func send(t *testing.T, service http.Handler, method string, status int) {
	t.Helper()
	body, err := json.Marshal(order{Number: 7, Sku: sku, Buyer: buyer})
	check.OK(t, err)
	w := httptest.NewRecorder()
	service.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/orders", bytes.NewReader(body)))
	if w.Code != status {
		t.Fatalf("%s was answered with %d, not %d", method, w.Code, status)
	}
}

// checkServer looks at what is the same on all of pgsafe's spans.
func checkServer(t *testing.T, traces []*span, port int, database string) {
	want := map[string]string{
		"db.system.name":                 "postgresql",
		"db.namespace":                   database,
		"server.address":                 host,
		"server.port":                    strconv.Itoa(port),
		"db.client.connection.pool.name": fmt.Sprintf("%s:%d/%s", host, port, database),
	}
	for _, root := range traces {
		for _, s := range root.below() {
			for key, value := range want {
				if s.tag(key) != value {
					t.Errorf("%s has %s=%s, not %s", s.Name, key, s.tag(key), value)
				}
			}
			if summary := s.tag("db.query.summary"); s.tag("db.query.text") != "" && summary != s.Name {
				t.Errorf("%s has the summary %q", s.Name, summary)
			}
		}
	}
}

// checkSecrets looks for the password, piece by piece, and for what the service's statements worked with.
func checkSecrets(t *testing.T, raw string) {
	const piece = 4
	for i := range len(pgtest.TLSPassword) - piece + 1 {
		if part := pgtest.TLSPassword[i : i+piece]; strings.Contains(raw, part) {
			t.Errorf("a piece of the password is in it: %s", part)
		}
	}
	for _, secret := range []string{buyer, sku, channel, "duplicate key"} {
		if strings.Contains(raw, secret) {
			t.Errorf("%q is in it", secret)
		}
	}
}
