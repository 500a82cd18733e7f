package telemetry_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/tracelog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/telemetry"
)

func TestOtelsqlAsTheLayerOfStatements(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		opts        []pgsafe.Option
	}{
		{"asked for in the connection string", "&pgsafe_telemetry=otelsql", nil},
		{"asked for in code", "", []pgsafe.Option{pgsafe.WithTelemetry(telemetry.Otelsql())}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecorder(t)
			db := r.open(pgtest.Shared(t), tt.query, tt.opts...)
			r.within("request", func(ctx context.Context) {
				tx, err := db.BeginTx(ctx, nil)
				must(t, err)
				exec(t, tx, ctx, "INSERT INTO people VALUES (1, 's3cretPw')")
				_, _ = tx.ExecContext(ctx, "INSERT INTO people VALUES (1, 's3cretPw')")
				_ = tx.Rollback()
			})
			tree := r.tree()
			if strings.Contains(tree, "s3cret") || strings.Contains(tree, "duplicate") {
				t.Errorf("it shows too much:\n%s", tree)
			}
			if strings.Contains(tree, "reset_session") || strings.Contains(tree, "TRANSACTION") {
				t.Errorf("there is noise, or a span twice:\n%s", tree)
			}
			inserts := r.ended("INSERT people")
			if len(inserts) != 2 {
				t.Fatalf("there are %d spans of two statements:\n%s", len(inserts), tree)
			}
			failed := inserts[1]
			if failed.Status().Code != codes.Error || text(failed, "db.response.status_code") != "23505" || text(failed, "db.system.name") != "postgresql" {
				t.Errorf("got %s", tree)
			}
			if got := text(failed, "db.query.text"); got != "INSERT INTO people VALUES (?, ?)" {
				t.Errorf("the text is %q", got)
			}
			if _, there := r.metrics()["db.client.connection.count"]; !there {
				t.Error("the pool is not observed")
			}
		})
	}
	t.Run("options of the application's outrank ours", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "", pgsafe.WithTelemetry(telemetry.Otelsql(
			otelsql.WithSpanNameFormatter(func(_ context.Context, m otelsql.Method, _ string) string { return "mine " + string(m) }))))
		exec(t, db, context.Background(), "SELECT 1")
		r.one("mine sql.conn.exec")
	})
	t.Run("the connection under it is still within reach", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "&pgsafe_telemetry=otelsql")
		if _, ok := pgsafe.ConnectorOf(db); !ok {
			t.Error("its Connector is not")
		}
		conn, err := db.Conn(context.Background())
		must(t, err)
		defer conn.Close()
		must(t, pgsafe.Raw(conn, func(c *pgx.Conn) error { return c.Ping(context.Background()) }))
	})
	t.Run("the numbers of the *sql.DB are measured, until it is closed", func(t *testing.T) {
		r := newRecorder(t)
		db := r.open(pgtest.Shared(t), "&pgsafe_telemetry=otelsql")
		exec(t, db, context.Background(), "SELECT 1")
		if _, there := r.metrics()["db.sql.connection.open"]; !there {
			t.Error("they are not")
		}
		must(t, db.Close())
		if _, there := r.metrics()["db.sql.connection.open"]; there {
			t.Error("they still are")
		}
	})
}

func TestWithoutTelemetry(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		opts        []pgsafe.Option
	}{
		{"in the connection string", "&pgsafe_telemetry=off", nil},
		{"in code", "", []pgsafe.Option{pgsafe.WithoutTelemetry()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecorder(t)
			db := r.open(pgtest.Shared(t), tt.query, tt.opts...)
			exec(t, db, context.Background(), "SELECT 1")
			if len(r.spans.Ended()) != 0 || len(r.metrics()) != 0 {
				t.Errorf("there are spans or metrics:\n%s", r.tree())
			}
		})
	}
}

// appTracer is an application's own.
type appTracer struct{ statements []string }

func (a *appTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	a.statements = append(a.statements, data.SQL)
	return ctx
}

func (a *appTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestAnApplicationsOwnTracerStays(t *testing.T) {
	config, err := pgx.ParseConfig(pgtest.Shared(t).URI("postgres"))
	must(t, err)
	app := &appTracer{}
	config.Tracer = app
	r := newRecorder(t)
	c, err := pgsafe.NewConnectorConfig(config, r.options()...)
	must(t, err)
	db := sql.OpenDB(c)
	defer db.Close()
	exec(t, db, context.Background(), "SELECT 1")
	if len(app.statements) != 1 || app.statements[0] != "SELECT 1" {
		t.Errorf("it saw %q", app.statements)
	}
	r.one("SELECT")
	var _ pgx.QueryTracer = &tracelog.TraceLog{} // the one that pgx itself has fits as well
}

func TestTheGlobalProviders(t *testing.T) {
	db, err := sql.Open("pgsafe", pgtest.Shared(t).URI("postgres"))
	must(t, err)
	defer db.Close()
	t.Run("that are set after Open count too", func(t *testing.T) {
		exec(t, db, context.Background(), "SELECT 1") // nobody listens yet
		spans := tracetest.NewSpanRecorder()
		otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
		exec(t, db, context.Background(), "SELECT 2")
		var names []string
		for _, s := range spans.Ended() {
			names = append(names, s.Name())
		}
		if len(names) != 1 || names[0] != "SELECT" {
			t.Errorf("the spans are %q", names)
		}
	})
}

func TestBelowASpanThatIsNotSampledThereIsNone(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	ctx, span := never.Tracer("app").Start(context.Background(), "request")
	defer span.End()
	tx, err := db.BeginTx(ctx, nil)
	must(t, err)
	exec(t, tx, ctx, "SELECT 1")
	must(t, tx.Commit())
	if len(r.spans.Started()) != 0 {
		t.Errorf("there are:\n%s", r.tree())
	}
	if _, measured := r.metrics()["db.client.operation.duration"]; !measured {
		t.Error("the statements were not measured")
	}
}

// deciding is a sampler that notes the attributes it could decide by.
type deciding struct {
	seen map[string][]attribute.KeyValue
}

func (d deciding) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	d.seen[p.Name] = p.Attributes
	return sdktrace.AlwaysSample().ShouldSample(p)
}

func (deciding) Description() string { return "deciding" }

func TestWhatASamplerSees(t *testing.T) {
	sampler := deciding{map[string][]attribute.KeyValue{}}
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler))
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "", pgsafe.WithTracerProvider(tracer))
	exec(t, db, context.Background(), "SELECT 1")
	ctx, span := tracer.Tracer("app").Start(context.Background(), "request")
	defer span.End()
	exec(t, db, ctx, "DELETE FROM people")
	keys := func(name string) string {
		var all []string
		for _, a := range sorted(sampler.seen[name]) {
			all = append(all, string(a.Key))
		}
		return strings.Join(all, " ")
	}
	if got := keys("SELECT"); got != "db.client.connection.pool.name db.namespace db.query.summary db.query.text db.system.name server.address server.port" {
		t.Errorf("of a span without a parent: %s", got)
	}
	if got := keys("DELETE people"); got != "db.query.summary db.system.name" {
		t.Errorf("of a span with a parent: %s", got)
	}
}

func TestTagsInApplicationName(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "&application_name=orders", pgsafe.WithServerTags(
		attribute.String("version", "1.4"), attribute.String("too", strings.Repeat("long", 20)), attribute.String("left", "out")))
	var name string
	must(t, db.QueryRow("SHOW application_name").Scan(&name))
	if name != "orders version=1.4" {
		t.Errorf("it is %q", name)
	}
}

func TestTraceComments(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "", pgsafe.WithTraceComments())
	db.SetMaxOpenConns(1)
	var seen string
	const sql = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND $1"
	t.Run("are on statements in a trace that is sampled", func(t *testing.T) {
		r.within("request", func(ctx context.Context) {
			must(t, db.QueryRowContext(ctx, sql, true).Scan(&seen))
		})
		s := r.one("SELECT pg_stat_activity")
		want := "/*traceparent='00-" + s.SpanContext().TraceID().String() + "-" + s.SpanContext().SpanID().String() + "-01'*/ " + sql
		if seen != want {
			t.Errorf("got %s, want %s", seen, want)
		}
		if got := text(s, "db.query.text"); got != sql {
			t.Errorf("the span's text is %q", got)
		}
	})
	t.Run("are on no other", func(t *testing.T) {
		must(t, db.QueryRow(sql, true).Scan(&seen))
		if seen != sql {
			t.Errorf("got %s", seen)
		}
	})
	t.Run("leave no statement prepared behind", func(t *testing.T) {
		count := func() (n int) {
			must(t, db.QueryRow("SELECT count(*) FROM pg_prepared_statements").Scan(&n))
			return n
		}
		count()
		before := count()
		r.within("request", func(ctx context.Context) {
			for range 20 {
				must(t, db.QueryRowContext(ctx, sql, true).Scan(&seen))
			}
		})
		if after := count(); after != before {
			t.Errorf("there were %d, and are %d", before, after)
		}
	})
}
