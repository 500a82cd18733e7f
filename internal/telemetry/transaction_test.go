package telemetry_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/codes"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
)

func TestTheSpanOfATransactionHasItsOutcome(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	ctx := context.Background()
	outcome := func(t *testing.T, want string) {
		t.Helper()
		if got := oteltest.Text(r.One("TRANSACTION"), "pgsafe.transaction.outcome"); got != want {
			t.Errorf("the outcome is %q, want %q:\n%s", got, want, r.Tree())
		}
		r.Spans.Reset()
	}
	for _, tt := range []struct {
		name, want string
		run        func(*testing.T, *sql.Tx)
	}{
		{"a committed transaction has the outcome commit", "commit", func(t *testing.T, tx *sql.Tx) { check.OK(t, tx.Commit()) }},
		{"a transaction that is rolled back has the outcome rollback", "rollback", func(t *testing.T, tx *sql.Tx) {
			check.OK(t, tx.Rollback())
		}},
		{"a commit after an error has the outcome rollback", "rollback", func(t *testing.T, tx *sql.Tx) {
			_, _ = tx.Exec("SELECT 1/0")
			if tx.Commit() == nil {
				t.Error("the transaction was committed")
			}
			for _, name := range []string{"COMMIT", "TRANSACTION"} {
				s := r.One(name)
				check.Equal(t, oteltest.Text(s, "error.type"), "rolled_back")
				check.Equal(t, s.Status().Code, codes.Error)
			}
		}},
		{"a commit that a constraint refuses has the outcome rollback", "rollback", func(t *testing.T, tx *sql.Tx) {
			exec(t, tx, ctx, "CREATE TABLE once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
			exec(t, tx, ctx, "INSERT INTO once VALUES (1), (1)")
			if tx.Commit() == nil {
				t.Error("the transaction was committed")
			}
			for _, name := range []string{"COMMIT", "TRANSACTION"} {
				check.Equal(t, oteltest.Text(r.One(name), "pgsafe.error.constraint"), "once_id_key")
			}
		}},
		{"a transaction whose connection is lost has the outcome rollback", "rollback", func(t *testing.T, tx *sql.Tx) {
			_, _ = tx.Exec("SELECT pg_terminate_backend(pg_backend_pid())")
			_ = tx.Rollback()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.Spans.Reset()
			tx, err := db.Begin()
			check.OK(t, err)
			tt.run(t, tx)
			outcome(t, tt.want)
		})
	}
	t.Run("a commit whose answer is lost has the outcome unknown", func(t *testing.T) {
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		behind, err := pgsafe.Open(proxy.URI("postgres"), r.options()...)
		check.OK(t, err)
		defer behind.Close()
		tx, err := behind.Begin()
		check.OK(t, err)
		exec(t, tx, ctx, "SELECT 1")
		r.Spans.Reset()
		proxy.Hang()
		proxy.Reset()
		done := make(chan error, 1)
		go func() { done <- tx.Commit() }()
		pgtest.Eventually(t, "the COMMIT is sent", func() bool { return proxy.RoundTrips() > 0 })
		proxy.Cut()
		if <-done == nil {
			t.Fatal("it was committed without an answer")
		}
		for _, name := range []string{"COMMIT", "TRANSACTION"} {
			check.Equal(t, oteltest.Text(r.One(name), "error.type"), "commit_unknown")
			check.Equal(t, r.One(name).Status().Description, "commit unknown")
		}
		outcome(t, "unknown")
	})
	t.Run("the transaction of a BEGIN that fails has its error", func(t *testing.T) {
		r.Spans.Reset()
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "BEGIN ISOLATION LEVEL nonsense"); err == nil {
			t.Fatal("the transaction began")
		}
		if got := oteltest.Text(r.One("TRANSACTION"), "error.type"); got != "42601" {
			t.Errorf("got %s", r.Tree())
		}
	})
	t.Run("a transaction that is begun and ended by SQL has a span with all its statements", func(t *testing.T) {
		r.Spans.Reset()
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		defer conn.Close()
		for _, s := range []string{"start transaction", "SAVEPOINT a", "SELECT 1", "ROLLBACK TO a", "END"} {
			exec(t, conn, ctx, s)
		}
		if got := oteltest.Text(r.One("TRANSACTION"), "pgsafe.transaction.statements"); got != "3" {
			t.Errorf("the transaction has %s statements, want 3:\n%s", got, r.Tree())
		}
		outcome(t, "commit")
	})
	t.Run("a transaction of pgx.BeginFunc has a span", func(t *testing.T) {
		r.Spans.Reset()
		raw(t, db, func(c *pgx.Conn) error {
			return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "SELECT 1")
				return err
			})
		})
		outcome(t, "commit")
	})
}

func TestTheParentOfAStatementInATransactionDependsOnItsContext(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	parentOf := func(t *testing.T, in func(context.Context) context.Context) (tx, statement, own string, links int) {
		r.Spans.Reset()
		r.Within("request", func(ctx context.Context) {
			tx, err := db.BeginTx(ctx, nil)
			check.OK(t, err)
			exec(t, tx, in(ctx), "DELETE FROM people")
			check.OK(t, tx.Commit())
		})
		s := r.One("DELETE people")
		return r.One("TRANSACTION").SpanContext().SpanID().String(), s.Parent().SpanID().String(),
			r.One("request").SpanContext().SpanID().String(), len(s.Links())
	}
	t.Run("the context that began the transaction makes it the parent", func(t *testing.T) {
		tx, parent, _, links := parentOf(t, func(ctx context.Context) context.Context { return ctx })
		if parent != tx || links != 0 {
			t.Error(r.Tree())
		}
	})
	t.Run("a context without a span makes the transaction the parent", func(t *testing.T) {
		tx, parent, _, _ := parentOf(t, func(context.Context) context.Context { return context.Background() })
		if parent != tx {
			t.Error(r.Tree())
		}
	})
	t.Run("an application's span in the context stays the parent and the transaction is linked", func(t *testing.T) {
		var within string
		tx, parent, _, links := parentOf(t, func(ctx context.Context) context.Context {
			ctx, span := r.Tracer.Tracer("app").Start(ctx, "step")
			span.End()
			within = span.SpanContext().SpanID().String()
			return ctx
		})
		if parent != within || links != 1 || r.One("DELETE people").Links()[0].SpanContext.SpanID().String() != tx {
			t.Error(r.Tree())
		}
	})
}
