package telemetry_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/jackc/pgx/v5"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/telemetry"
)

// unsampled returns the context of a request that is not sampled.
func unsampled() context.Context {
	return trace.ContextWithSpanContext(context.Background(),
		trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
}

// raw runs f with a pgx connection of db.
func raw(t *testing.T, db *sql.DB, f func(*pgx.Conn) error) {
	t.Helper()
	conn, err := db.Conn(context.Background())
	check.OK(t, err)
	defer conn.Close()
	check.OK(t, pgsafe.Raw(conn, f))
}

func TestAnUnsampledCommitEndsItsTransaction(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "", pgsafe.WithTelemetry(telemetry.WithMeterProvider(noopmetric.NewMeterProvider())))
	raw(t, db, func(c *pgx.Conn) error {
		r.Within("request", func(ctx context.Context) {
			_, err := c.Exec(ctx, "BEGIN")
			check.OK(t, err)
		})
		_, err := c.Exec(unsampled(), "COMMIT")
		return err
	})
	if got := oteltest.Text(r.One("TRANSACTION"), "pgsafe.transaction.outcome"); got != "commit" {
		t.Errorf("the outcome is %q", got)
	}
	r.Within("another", func(ctx context.Context) { exec(t, db, ctx, "SELECT 1") })
	if s := r.One("SELECT"); len(s.Links()) != 0 {
		t.Errorf("the statement of another request is linked to the transaction:\n%s", r.Tree())
	}
}

func TestAStatementRefusedByABusyConnectionEndsNoOtherSpan(t *testing.T) {
	for _, metrics := range []pgsafe.Option{nil, pgsafe.WithTelemetry(telemetry.WithMeterProvider(noopmetric.NewMeterProvider()))} {
		r := newRecorder(t)
		options := []pgsafe.Option{}
		if metrics != nil {
			options = append(options, metrics)
		}
		db := r.open(pgtest.Shared(t), "", options...)
		raw(t, db, func(c *pgx.Conn) error {
			r.Within("request", func(ctx context.Context) {
				rows, err := c.Query(ctx, "SELECT id FROM generate_series(1, 3) AS id")
				check.OK(t, err)
				if _, err := c.Exec(unsampled(), "SELECT 2"); err == nil {
					t.Error("two statements ran at once")
				}
				b := &pgx.Batch{}
				b.Queue("SELECT 3")
				b.Queue("SELECT 4")
				if c.SendBatch(ctx, b).Close() == nil {
					t.Error("a batch ran within a statement")
				}
				rows.Close()
			})
			return nil
		})
		if s := r.One("SELECT generate_series"); strings.Contains(oteltest.Status(s), "Error") {
			t.Errorf("the statement has the end of another statement:\n%s", r.Tree())
		}
	}
}

func TestABatchWithCommitOrRollbackEndsItsTransaction(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	raw(t, db, func(c *pgx.Conn) error {
		for _, texts := range [][]string{
			{"BEGIN", "INSERT INTO people VALUES (1)", "COMMIT"},
			{"BEGIN", "INSERT INTO people VALUES (2)", "ROLLBACK"},
		} {
			for _, at := range []int{0, 1, 2} {
				r.Spans.Reset()
				r.Within("request", func(ctx context.Context) {
					first, second := &pgx.Batch{}, &pgx.Batch{}
					for i, statement := range append(texts[:2:2], "DELETE FROM people", texts[2]) {
						if i <= at {
							first.Queue(statement)
						} else {
							second.Queue(statement)
						}
					}
					check.OK(t, c.SendBatch(ctx, first).Close())
					check.OK(t, c.SendBatch(ctx, second).Close())
				})
				if got := oteltest.Text(r.One("TRANSACTION"), "pgsafe.transaction.outcome"); !strings.EqualFold(got, texts[2]) {
					t.Errorf("%v, first batch to %d: the outcome is %q:\n%s", texts, at, got, r.Tree())
				}
			}
		}
		return nil
	})
}

func TestTheSpanOfACopyThatCannotBeginHasItsError(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	db.SetMaxOpenConns(1)
	r.Within("first", func(ctx context.Context) {
		raw(t, db, func(c *pgx.Conn) error {
			if _, err := c.CopyFrom(ctx, pgx.Identifier{"missing"}, []string{"id"}, pgx.CopyFromRows(nil)); err == nil {
				t.Error("there is no such table")
			}
			return nil
		})
	})
	if s := r.One("COPY missing"); !strings.Contains(oteltest.Status(s), "Error") || len(s.Events()) > 1 {
		t.Errorf("got\n%s", r.Tree())
	}
	r.Within("second", func(ctx context.Context) {
		stmt, err := db.PrepareContext(ctx, "SELECT $1::int")
		check.OK(t, err)
		check.OK(t, stmt.Close())
	})
	r.One("PREPARE SELECT")
}

type panics struct{}

func (panics) Value() (driver.Value, error) { panic("no value") }

func TestAStatementWhoseArgumentPanicsEndsWhenItsConnectionIsReleased(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	db.SetMaxOpenConns(1)
	raw(t, db, func(c *pgx.Conn) error {
		r.Within("first", func(ctx context.Context) {
			defer func() { _ = recover() }()
			_, _ = c.Exec(ctx, "SELECT $1::text", panics{})
		})
		return nil
	})
	if started, ended := len(r.Spans.Started()), len(r.Spans.Ended()); started != ended {
		t.Errorf("%d spans began, %d ended", started, ended)
	}
}

func TestAWaitWithoutAStatementIsNotAnEventOfTheNextUsersStatement(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.SharedTLS(t), "")
	check.OK(t, db.Ping()) // waits for a dial and runs no statement
	exec(t, db, context.Background(), "SELECT 1")
	if events := r.One("SELECT").Events(); len(events) != 0 {
		t.Errorf("the statement did not wait:\n%s", r.Tree())
	}
}

func TestOneUseOfAConnectionIsMeasuredOnce(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	exec(t, db, context.Background(), "SELECT 1")
	db.SetMaxIdleConns(0) // closes the idle connection of database/sql
	dump := r.Dump()
	if !strings.Contains(dump, "use_time count=1 ") {
		t.Errorf("the connection was used once:\n%s", dump)
	}
}

func TestAUseThatEndsWithItsConnectionIsMeasured(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	raw(t, db, func(c *pgx.Conn) error { return c.Close(context.Background()) })
	if dump := r.Dump(); !strings.Contains(dump, "use_time count=1 ") {
		t.Errorf("the connection was used once:\n%s", dump)
	}
}

func TestAConnectionThatAfterConnectRefusesIsFreed(t *testing.T) {
	var made []weak.Pointer[pgx.Conn]
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "", pgsafe.WithAfterConnect(func(_ context.Context, c *pgx.Conn) error {
		made = append(made, weak.Make(c))
		return errors.New("not this one")
	}))
	for range 10 {
		if db.Ping() == nil {
			t.Fatal("AfterConnect refuses all connections")
		}
	}
	pgtest.Eventually(t, "the connections are collected", func() bool {
		runtime.GC()
		kept := 0
		for _, p := range made {
			if p.Value() != nil {
				kept++
			}
		}
		return kept <= 1 // a stack may still refer to the last one
	})
}

func TestATransactionsOutcomeIsRightWhereTheLastTagIsNotIt(t *testing.T) {
	for _, tt := range []struct {
		name        string
		texts, want []string
	}{
		{
			"COMMIT AND CHAIN commits one transaction and begins another",
			[]string{"BEGIN", "SELECT 1", "COMMIT AND CHAIN", "SELECT 2", "ROLLBACK"}, []string{"commit", "rollback"},
		},
		{
			"a COMMIT followed by a query in the same text commits",
			[]string{"BEGIN", "COMMIT; SELECT 1"}, []string{"commit"},
		},
		{
			"a COMMIT of an aborted transaction rolls back",
			[]string{"BEGIN", "SELECT 1/0", "COMMIT; SELECT 1"}, []string{"rollback"},
		},
		{
			"a ROLLBACK followed by a query in the same text rolls back",
			[]string{"BEGIN", "ROLLBACK; SELECT 1"}, []string{"rollback"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecorder(t)
			db := r.open(pgtest.Shared(t), "")
			raw(t, db, func(c *pgx.Conn) error {
				r.Within("request", func(ctx context.Context) {
					for _, statement := range tt.texts {
						_, _ = c.Exec(ctx, statement)
					}
				})
				return nil
			})
			var got []string
			for _, s := range r.Ended("TRANSACTION") {
				got = append(got, oteltest.Text(s, "pgsafe.transaction.outcome"))
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("got %v, want %v:\n%s", got, tt.want, r.Tree())
			}
		})
	}
}

func TestATransactionThatOutlivesItsPoolHasItsOwnOutcome(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	r.Within("request", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		check.OK(t, db.Close())
		exec(t, tx, ctx, "INSERT INTO people VALUES (1)")
		check.OK(t, tx.Commit())
	})
	if got := oteltest.Text(r.One("TRANSACTION"), "pgsafe.transaction.outcome"); got != "commit" {
		t.Errorf("the outcome is %q:\n%s", got, r.Tree())
	}
}

// endsCurrent is a tracer that ends the span in the context, like github.com/exaring/otelpgx.
type endsCurrent struct{ trace.Tracer }

func (e endsCurrent) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	ctx, _ = e.Start(ctx, "its own")
	return ctx
}

func (endsCurrent) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	span := trace.SpanFromContext(ctx)
	span.RecordError(data.Err)
	span.End()
}

func TestAnotherTracerOfTheConnectionDoesNotGetPgsafesSpans(t *testing.T) {
	r := newRecorder(t)
	config, err := pgx.ParseConfig(pgtest.Shared(t).Database(t))
	check.OK(t, err)
	config.Tracer = endsCurrent{r.Tracer.Tracer("another")}
	c, err := pgsafe.NewConnectorConfig(config, r.options()...)
	check.OK(t, err)
	db := sql.OpenDB(c)
	defer db.Close()
	r.Within("request", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		_, _ = tx.ExecContext(ctx, "SELECT 's3cret'::int")
		check.OK(t, tx.Rollback())
	})
	s, parent := r.One("SELECT"), r.One("TRANSACTION")
	if len(s.Events()) != 0 || oteltest.Text(s, "error.type") != "22P02" ||
		s.Parent().SpanID() != parent.SpanContext().SpanID() {
		t.Errorf("the other tracer changed the span, or its parent is wrong:\n%s", r.Tree())
	}
	if n := len(r.Ended("its own")); n != 3 {
		t.Errorf("%d of the other tracer's 3 spans ended", n)
	}
}
