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
)

// unsampled is the context of a request of which no spans are wanted.
func unsampled() context.Context {
	return trace.ContextWithSpanContext(context.Background(),
		trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
}

// raw runs f with the pgx connection of db, and gives it back.
func raw(t *testing.T, db *sql.DB, f func(*pgx.Conn) error) {
	t.Helper()
	conn, err := db.Conn(context.Background())
	must(t, err)
	defer conn.Close()
	must(t, pgsafe.Raw(conn, f))
}

func TestATransactionEndsWithAnUnsampledCommit(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "", pgsafe.WithMeterProvider(noopmetric.NewMeterProvider()))
	raw(t, db, func(c *pgx.Conn) error {
		r.within("request", func(ctx context.Context) {
			_, err := c.Exec(ctx, "BEGIN")
			must(t, err)
		})
		_, err := c.Exec(unsampled(), "COMMIT")
		return err
	})
	if got := text(r.one("TRANSACTION"), "pgsafe.transaction.outcome"); got != "commit" {
		t.Errorf("the outcome is %q", got)
	}
	r.within("another", func(ctx context.Context) { exec(t, db, ctx, "SELECT 1") })
	if s := r.one("SELECT"); len(s.Links()) != 0 {
		t.Errorf("another request's statement is linked to the transaction:\n%s", r.tree())
	}
}

func TestABusyConnectionEndsNoOtherSpan(t *testing.T) {
	for _, metrics := range []pgsafe.Option{nil, pgsafe.WithMeterProvider(noopmetric.NewMeterProvider())} {
		r := newRecorder(t)
		options := []pgsafe.Option{}
		if metrics != nil {
			options = append(options, metrics)
		}
		db := r.open(pgtest.Shared(t), "", options...)
		raw(t, db, func(c *pgx.Conn) error {
			r.within("request", func(ctx context.Context) {
				rows, err := c.Query(ctx, "SELECT id FROM generate_series(1, 3) AS id")
				must(t, err)
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
		if s := r.one("SELECT generate_series"); strings.Contains(status(s), "Error") {
			t.Errorf("the statement has another's end:\n%s", r.tree())
		}
	}
}

func TestABatchEndsItsTransaction(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	raw(t, db, func(c *pgx.Conn) error {
		for _, texts := range [][]string{
			{"BEGIN", "INSERT INTO people VALUES (1)", "COMMIT"},
			{"BEGIN", "INSERT INTO people VALUES (2)", "ROLLBACK"},
		} {
			for _, at := range []int{0, 1, 2} {
				r.spans.Reset()
				r.within("request", func(ctx context.Context) {
					first, second := &pgx.Batch{}, &pgx.Batch{}
					for i, statement := range append(texts[:2:2], "DELETE FROM people", texts[2]) {
						if i <= at {
							first.Queue(statement)
						} else {
							second.Queue(statement)
						}
					}
					must(t, c.SendBatch(ctx, first).Close())
					must(t, c.SendBatch(ctx, second).Close())
				})
				if got := text(r.one("TRANSACTION"), "pgsafe.transaction.outcome"); !strings.EqualFold(got, texts[2]) {
					t.Errorf("%v, first batch to %d: the outcome is %q:\n%s", texts, at, got, r.tree())
				}
			}
		}
		return nil
	})
}

func TestACopyThatCannotBeginHasItsError(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	db.SetMaxOpenConns(1)
	r.within("first", func(ctx context.Context) {
		raw(t, db, func(c *pgx.Conn) error {
			if _, err := c.CopyFrom(ctx, pgx.Identifier{"nobody"}, []string{"id"}, pgx.CopyFromRows(nil)); err == nil {
				t.Error("there is no such table")
			}
			return nil
		})
	})
	if s := r.one("COPY nobody"); !strings.Contains(status(s), "Error") || len(s.Events()) > 1 {
		t.Errorf("got\n%s", r.tree())
	}
	r.within("second", func(ctx context.Context) {
		stmt, err := db.PrepareContext(ctx, "SELECT $1::int")
		must(t, err)
		must(t, stmt.Close())
	})
	r.one("PREPARE SELECT")
}

type panics struct{}

func (panics) Value() (driver.Value, error) { panic("no value") }

func TestAPanicIsOverWhenTheConnectionChangesHands(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	db.SetMaxOpenConns(1)
	raw(t, db, func(c *pgx.Conn) error {
		r.within("first", func(ctx context.Context) {
			defer func() { _ = recover() }()
			_, _ = c.Exec(ctx, "SELECT $1::text", panics{})
		})
		return nil
	})
	if started, ended := len(r.spans.Started()), len(r.spans.Ended()); started != ended {
		t.Errorf("%d spans began, %d ended", started, ended)
	}
}

func TestAWaitIsForgottenWithTheUserWhoWaited(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.SharedTLS(t), "")
	must(t, db.Ping()) // it waits for the connect, and runs no statement
	exec(t, db, context.Background(), "SELECT 1")
	if events := r.one("SELECT").Events(); len(events) != 0 {
		t.Errorf("it waited for nothing:\n%s", r.tree())
	}
}

func TestAUseIsMeasuredOnce(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	exec(t, db, context.Background(), "SELECT 1")
	db.SetMaxIdleConns(0) // which closes the lease that is parked
	dump := r.dump()
	if !strings.Contains(dump, "use_time count=1 ") {
		t.Errorf("it was used once:\n%s", dump)
	}
}

func TestAConnectionThatIsRefusedIsForgotten(t *testing.T) {
	var made []weak.Pointer[pgx.Conn]
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "", pgsafe.WithAfterConnect(func(_ context.Context, c *pgx.Conn) error {
		made = append(made, weak.Make(c))
		return errors.New("not this one")
	}))
	for range 10 {
		if db.Ping() == nil {
			t.Fatal("it was refused")
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
		return kept <= 1 // the last may be on a stack
	})
}

func TestOutcomesThatTheLastTagDoesNotTell(t *testing.T) {
	for name, tt := range map[string]struct{ texts, want []string }{
		"chain":             {[]string{"BEGIN", "SELECT 1", "COMMIT AND CHAIN", "SELECT 2", "ROLLBACK"}, []string{"commit", "rollback"}},
		"a text goes on":    {[]string{"BEGIN", "COMMIT; SELECT 1"}, []string{"commit"}},
		"it was aborted":    {[]string{"BEGIN", "SELECT 1/0", "COMMIT; SELECT 1"}, []string{"rollback"}},
		"a text rolls back": {[]string{"BEGIN", "ROLLBACK; SELECT 1"}, []string{"rollback"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t)
			db := r.open(pgtest.Shared(t), "")
			raw(t, db, func(c *pgx.Conn) error {
				r.within("request", func(ctx context.Context) {
					for _, statement := range tt.texts {
						_, _ = c.Exec(ctx, statement)
					}
				})
				return nil
			})
			var got []string
			for _, s := range r.ended("TRANSACTION") {
				got = append(got, text(s, "pgsafe.transaction.outcome"))
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("got %v, want %v:\n%s", got, tt.want, r.tree())
			}
		})
	}
}

func TestATransactionOutlivesThePool(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	r.within("request", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		must(t, db.Close())
		exec(t, tx, ctx, "INSERT INTO people VALUES (1)")
		must(t, tx.Commit())
	})
	if got := text(r.one("TRANSACTION"), "pgsafe.transaction.outcome"); got != "commit" {
		t.Errorf("the outcome is %q:\n%s", got, r.tree())
	}
}

// endsCurrent is a tracer that ends the span in its context, as github.com/exaring/otelpgx does.
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

func TestAnotherTracerDoesNotGetOurSpans(t *testing.T) {
	r := newRecorder(t)
	config, err := pgx.ParseConfig(pgtest.Shared(t).Database(t))
	must(t, err)
	config.Tracer = endsCurrent{r.tracer.Tracer("another")}
	c, err := pgsafe.NewConnectorConfig(config, r.options()...)
	must(t, err)
	db := sql.OpenDB(c)
	defer db.Close()
	r.within("request", func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		_, _ = tx.ExecContext(ctx, "SELECT 's3cret'::int")
		must(t, tx.Rollback())
	})
	s, parent := r.one("SELECT"), r.one("TRANSACTION")
	if len(s.Events()) != 0 || text(s, "error.type") != "22P02" || s.Parent().SpanID() != parent.SpanContext().SpanID() {
		t.Errorf("another tracer wrote on it, or it has another parent:\n%s", r.tree())
	}
	if n := len(r.ended("its own")); n != 3 {
		t.Errorf("%d of another tracer's 3 spans ended", n)
	}
}
