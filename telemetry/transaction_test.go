package telemetry_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestTransactions(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	ctx := context.Background()
	outcome := func(t *testing.T, want string) {
		t.Helper()
		if got := text(r.one("TRANSACTION"), "pgsafe.transaction.outcome"); got != want {
			t.Errorf("the outcome is %q, want %q:\n%s", got, want, r.tree())
		}
		r.spans.Reset()
	}
	for _, tt := range []struct {
		name, want string
		run        func(*testing.T, *sql.Tx)
	}{
		{"a commit", "commit", func(t *testing.T, tx *sql.Tx) { must(t, tx.Commit()) }},
		{"a rollback", "rollback", func(t *testing.T, tx *sql.Tx) { must(t, tx.Rollback()) }},
		{"a commit after an error, which the server makes a rollback", "rollback", func(t *testing.T, tx *sql.Tx) {
			_, _ = tx.Exec("SELECT 1/0")
			if tx.Commit() == nil {
				t.Error("it was committed")
			}
		}},
		{"a commit that a constraint prevents", "rollback", func(t *testing.T, tx *sql.Tx) {
			exec(t, tx, ctx, "CREATE TABLE once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
			exec(t, tx, ctx, "INSERT INTO once VALUES (1), (1)")
			if tx.Commit() == nil {
				t.Error("it was committed")
			}
		}},
		{"a connection that is lost", "rollback", func(t *testing.T, tx *sql.Tx) {
			_, _ = tx.Exec("SELECT pg_terminate_backend(pg_backend_pid())")
			_ = tx.Rollback()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.spans.Reset()
			tx, err := db.Begin()
			must(t, err)
			tt.run(t, tx)
			outcome(t, tt.want)
		})
	}
	t.Run("a commit whose answer is lost", func(t *testing.T) {
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		behind, err := pgsafe.Open(proxy.URI("postgres"), r.options()...)
		must(t, err)
		defer behind.Close()
		tx, err := behind.Begin()
		must(t, err)
		exec(t, tx, ctx, "SELECT 1")
		r.spans.Reset()
		proxy.Cut()
		if tx.Commit() == nil {
			t.Fatal("it was committed without a connection")
		}
		outcome(t, "unknown")
	})
	t.Run("a BEGIN that fails is a transaction that never was", func(t *testing.T) {
		r.spans.Reset()
		conn, err := db.Conn(ctx)
		must(t, err)
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "BEGIN ISOLATION LEVEL nonsense"); err == nil {
			t.Fatal("it began")
		}
		if got := text(r.one("TRANSACTION"), "error.type"); got != "42601" {
			t.Errorf("got %s", r.tree())
		}
	})
	t.Run("one that is begun and ended in words", func(t *testing.T) {
		r.spans.Reset()
		conn, err := db.Conn(ctx)
		must(t, err)
		defer conn.Close()
		for _, s := range []string{"start transaction", "SAVEPOINT a", "SELECT 1", "ROLLBACK TO a", "END"} {
			exec(t, conn, ctx, s)
		}
		if got := text(r.one("TRANSACTION"), "pgsafe.transaction.statements"); got != "3" {
			t.Errorf("it has %s statements:\n%s", got, r.tree())
		}
		outcome(t, "commit")
	})
	t.Run("one of pgx's own", func(t *testing.T) {
		r.spans.Reset()
		c, _ := pgsafe.ConnectorOf(db)
		must(t, pgx.BeginFunc(ctx, c.Pool(), func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "SELECT 1")
			return err
		}))
		outcome(t, "commit")
	})
}

func TestWhoIsTheParentOfAStatementInATransaction(t *testing.T) {
	r := newRecorder(t)
	db := r.open(pgtest.Shared(t), "")
	parentOf := func(t *testing.T, in func(context.Context) context.Context) (tx, statement, own string, links int) {
		r.spans.Reset()
		r.within("request", func(ctx context.Context) {
			tx, err := db.BeginTx(ctx, nil)
			must(t, err)
			exec(t, tx, in(ctx), "DELETE FROM people")
			must(t, tx.Commit())
		})
		s := r.one("DELETE people")
		return r.one("TRANSACTION").SpanContext().SpanID().String(), s.Parent().SpanID().String(),
			r.one("request").SpanContext().SpanID().String(), len(s.Links())
	}
	t.Run("the transaction, with the context that began it", func(t *testing.T) {
		tx, parent, _, links := parentOf(t, func(ctx context.Context) context.Context { return ctx })
		if parent != tx || links != 0 {
			t.Error(r.tree())
		}
	})
	t.Run("the transaction, with a context that has no span", func(t *testing.T) {
		tx, parent, _, _ := parentOf(t, func(context.Context) context.Context { return context.Background() })
		if parent != tx {
			t.Error(r.tree())
		}
	})
	t.Run("a span of the application's own, with a link to the transaction", func(t *testing.T) {
		var within string
		tx, parent, _, links := parentOf(t, func(ctx context.Context) context.Context {
			ctx, span := r.tracer.Tracer("app").Start(ctx, "step")
			span.End()
			within = span.SpanContext().SpanID().String()
			return ctx
		})
		if parent != within || links != 1 || r.one("DELETE people").Links()[0].SpanContext.SpanID().String() != tx {
			t.Error(r.tree())
		}
	})
}
