package telemetry_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/tracelog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/telemetry"
)

func TestTelemetryThatIsOffMakesNoSpansAndNoMetrics(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		opts        []pgsafe.Option
	}{
		{"pgsafe_telemetry=off makes no spans and no metrics", "&pgsafe_telemetry=off", nil},
		{"telemetry.Off makes no spans and no metrics", "", []pgsafe.Option{pgsafe.WithTelemetry(telemetry.Off())}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecorder(t)
			db := r.open(pgtest.Shared(t), tt.query, tt.opts...)
			exec(t, db, context.Background(), "SELECT 1")
			if len(r.Spans.Ended()) != 0 || len(r.Metrics()) != 0 {
				t.Errorf("there are spans or metrics:\n%s", r.Tree())
			}
		})
	}
}

// appTracer is an application's own tracer.
type appTracer struct{ statements []string }

func (a *appTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	a.statements = append(a.statements, data.SQL)
	return ctx
}

func (a *appTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestAnApplicationsOwnTracerSeesItsStatements(t *testing.T) {
	config, err := pgx.ParseConfig(pgtest.Shared(t).URI("postgres"))
	check.OK(t, err)
	app := &appTracer{}
	config.Tracer = app
	r := newRecorder(t)
	c, err := pgsafe.NewConnectorConfig(config, r.options()...)
	check.OK(t, err)
	db := sql.OpenDB(c)
	defer db.Close()
	exec(t, db, context.Background(), "SELECT 1")
	if len(app.statements) != 1 || app.statements[0] != "SELECT 1" {
		t.Errorf("the application's tracer saw %q", app.statements)
	}
	r.One("SELECT")
	var _ pgx.QueryTracer = &tracelog.TraceLog{} // pgx's own tracer fits too
}

func TestAGlobalProviderThatIsSetAfterOpenMakesSpans(t *testing.T) {
	db, err := sql.Open("pgsafe", pgtest.Shared(t).URI("postgres"))
	check.OK(t, err)
	defer db.Close()
	exec(t, db, context.Background(), "SELECT 1") // there is no SDK yet
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
}

func TestStatementsBelowAnUnsampledSpanAreMeasuredAndHaveNoSpans(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	ctx, span := never.Tracer("app").Start(context.Background(), "request")
	defer span.End()
	tx, err := db.BeginTx(ctx, nil)
	check.OK(t, err)
	exec(t, tx, ctx, "SELECT 1")
	check.OK(t, tx.Commit())
	if len(r.Spans.Started()) != 0 {
		t.Errorf("there are spans:\n%s", r.Tree())
	}
	if _, measured := r.Metrics()["db.client.operation.duration"]; !measured {
		t.Error("the statements were not measured")
	}
}

// deciding is a sampler that records the attributes that it gets.
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
	db := r.open(pgtest.Shared(t), "", pgsafe.WithTelemetry(telemetry.WithTracerProvider(tracer)))
	exec(t, db, context.Background(), "SELECT 1")
	ctx, span := tracer.Tracer("app").Start(context.Background(), "request")
	defer span.End()
	exec(t, db, ctx, "DELETE FROM people")
	keys := func(name string) string {
		var all []string
		for _, a := range oteltest.Sorted(sampler.seen[name]) {
			all = append(all, string(a.Key))
		}
		return strings.Join(all, " ")
	}
	if got := keys("SELECT"); got != "db.client.connection.pool.name db.namespace db.query.summary "+
		"db.query.text db.system.name server.address server.port" {
		t.Errorf("for a span without a parent it gets %s", got)
	}
	if got := keys("DELETE people"); got != "db.query.summary db.system.name" {
		t.Errorf("for a span with a parent it gets %s", got)
	}
}

func TestServerTagsThatFitAreInTheApplicationName(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "&application_name=orders", pgsafe.WithTelemetry(telemetry.WithServerTags(
		attribute.String("version", "1.4"), attribute.String("too", strings.Repeat("long", 20)),
		attribute.String("left", "out"))))
	var name string
	check.OK(t, db.QueryRow("SHOW application_name").Scan(&name))
	if name != "orders version=1.4" {
		t.Errorf("application_name is %q", name)
	}
}

func TestTraceCommentsAreOnSampledStatementsAndCacheNothing(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "", pgsafe.WithTelemetry(telemetry.WithTraceComments()))
	db.SetMaxOpenConns(1)
	var seen string
	const sql = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND $1"
	t.Run("a statement in a sampled trace has the comment", func(t *testing.T) {
		r.Within("request", func(ctx context.Context) {
			check.OK(t, db.QueryRowContext(ctx, sql, true).Scan(&seen))
		})
		s := r.One("SELECT pg_stat_activity")
		sc := s.SpanContext()
		want := "/*traceparent='00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-01'*/ " + sql
		if seen != want {
			t.Errorf("got %s, want %s", seen, want)
		}
		if got := oteltest.Text(s, "db.query.text"); got != sql {
			t.Errorf("the span's text is %q", got)
		}
	})
	t.Run("a statement outside a trace has no comment", func(t *testing.T) {
		check.OK(t, db.QueryRow(sql, true).Scan(&seen))
		if seen != sql {
			t.Errorf("got %s", seen)
		}
	})
	t.Run("statements with comments are not prepared by name", func(t *testing.T) {
		count := func() (n int) {
			check.OK(t, db.QueryRow("SELECT count(*) FROM pg_prepared_statements").Scan(&n))
			return n
		}
		count()
		before := count()
		r.Within("request", func(ctx context.Context) {
			for range 20 {
				check.OK(t, db.QueryRowContext(ctx, sql, true).Scan(&seen))
			}
		})
		if after := count(); after != before {
			t.Errorf("%d statements were prepared before, %d after", before, after)
		}
	})
}
