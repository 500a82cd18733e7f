// Package fit holds what a library has to do over sessions: the same for each, on a real server.
package fit

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/session"
)

// Notes is what each example makes of its library. It knows nothing of sessions, transactions and
// tenants: all that is in the context.
type Notes interface {
	// Add adds one.
	Add(ctx context.Context, text string) error

	// AddAll adds all or none.
	AddAll(ctx context.Context, texts ...string) error

	// List returns the texts, in the order in which they came.
	List(ctx context.Context) ([]string, error)
}

//go:embed schema.sql
var schema string

// errUndo is what a function returns to have its transaction rolled back.
var errUndo = errors.New("undo it")

// Open makes a database for the test, without notes. Its sessions keep their connections.
func Open(t *testing.T) *session.DB {
	t.Helper()
	db := open(t, pgtest.Shared(t).Database(t))
	_, err := db.ExecContext(t.Context(), schema)
	must(t, err)
	return session.Wrap(db, session.WithLinger(time.Hour))
}

// Check runs the library's statements in sessions and transactions of db, whose notes it changes.
func Check(t *testing.T, db *session.DB, notes Notes) {
	t.Run("a statement in a session runs on its connection", func(t *testing.T) {
		empty(t, db)
		must(t, db.Do(t.Context(), func(ctx context.Context) error {
			var own, others int
			must(t, db.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&own)) // it is kept from now on
			must(t, notes.Add(ctx, "one"))
			must(t, db.QueryRowContext(ctx, "SELECT count(*) FROM notes WHERE backend <> $1", own).Scan(&others))
			if others > 0 {
				t.Error("it ran elsewhere")
			}
			listed(t, ctx, notes, "one")
			return nil
		}))
	})
	t.Run("a statement in a transaction is part of it", func(t *testing.T) {
		empty(t, db)
		err := db.Tx(t.Context(), nil, func(ctx context.Context) error {
			must(t, notes.Add(ctx, "one"))
			listed(t, ctx, notes, "one")
			listed(t, t.Context(), notes) // others do not see it
			return errUndo
		})
		is(t, err, errUndo)
		listed(t, t.Context(), notes)
		must(t, db.Tx(t.Context(), nil, func(ctx context.Context) error { return notes.Add(ctx, "two") }))
		listed(t, t.Context(), notes, "two")
	})
	t.Run("its own transactions are all or nothing", func(t *testing.T) {
		empty(t, db)
		must(t, db.Do(t.Context(), func(ctx context.Context) error {
			must(t, notes.AddAll(ctx, "one", "two"))
			refused(t, notes.AddAll(ctx, "three", ""))
			listed(t, ctx, notes, "one", "two")
			return nil
		}))
	})
	t.Run("its own transactions nest in one of the session", func(t *testing.T) {
		empty(t, db)
		err := db.Tx(t.Context(), nil, func(ctx context.Context) error {
			must(t, notes.Add(ctx, "one"))
			refused(t, notes.AddAll(ctx, "two", "")) // and the outer one goes on
			must(t, notes.AddAll(ctx, "three", "four"))
			listed(t, ctx, notes, "one", "three", "four")
			return errUndo
		})
		is(t, err, errUndo)
		listed(t, t.Context(), notes)
	})
	t.Run("what comes after the session is told so", func(t *testing.T) {
		var late context.Context
		must(t, db.Do(t.Context(), func(ctx context.Context) error {
			late = ctx
			return nil
		}))
		_, err := notes.List(late)
		is(t, err, session.ErrEnded)
	})
	pgtest.Eventually(t, "every connection is back", func() bool { return db.Unwrap().Stats().InUse == 0 })
}

func open(t *testing.T, uri string) *sql.DB {
	t.Helper()
	db, err := sql.Open(pgsafe.DriverName, uri)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

func empty(t *testing.T, db *session.DB) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), "DELETE FROM notes")
	must(t, err)
}

func listed(t *testing.T, ctx context.Context, notes Notes, want ...string) {
	t.Helper()
	got, err := notes.List(ctx)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("the notes are %q, and should be %q", got, want)
	}
}

// refused checks that err is the server's, for a note without a text.
func refused(t *testing.T, err error) {
	t.Helper()
	if kind := pgsafe.KindOf(err); kind != pgsafe.KindConstraint {
		t.Fatalf("the error is %v, of kind %v", err, kind)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("the error is %v, and should be %v", err, target)
	}
}
