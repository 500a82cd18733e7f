// Package notestest holds the tests that the code of each library has to pass, on a real server.
package notestest

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// Notes is what each example makes of its library. It knows nothing of sessions, transactions and
// tenants: all that is in the context.
type Notes interface {
	// Add adds one.
	Add(ctx context.Context, text string) error

	// AddAll adds all or none, in a transaction of the library.
	AddAll(ctx context.Context, texts ...string) error

	// List returns the texts, in the order in which they came.
	List(ctx context.Context) ([]string, error)
}

//go:embed schema.sql
var schema string

// ErrUndo is the error that a test's function returns to have its transaction rolled back.
var ErrUndo = errors.New("undo it")

// Open makes a database for the test, without notes.
func Open(t *testing.T) *sql.DB {
	t.Helper()
	return OpenAt(t, NewDatabase(t))
}

// NewDatabase makes a database for the test, without notes, and returns its URI.
func NewDatabase(t *testing.T) (uri string) {
	t.Helper()
	uri = pgtest.Shared(t).Database(t)
	_, err := OpenAt(t, uri).ExecContext(t.Context(), schema)
	check.OK(t, err)
	return uri
}

// OpenAt opens a database as an application does.
func OpenAt(t *testing.T, uri string) *sql.DB {
	t.Helper()
	db, err := sql.Open(pgsafe.DriverName, uri)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, db.Close()) })
	return db
}

// Check runs the statements of a library in sessions and transactions of several databases. use gives
// the library the application's *sql.DB.
func Check(t *testing.T, use func(db *sql.DB) Notes) {
	db := Open(t)
	CheckOn(t, db, use(db))
	t.Run("all statements of a transaction run in a pool of one connection", func(t *testing.T) {
		db := OpenAt(t, NewDatabase(t)+"&pool_max_conns=1&pool_acquire_timeout=5s")
		onOneConnection(t, db, use(db))
	})
	t.Run("all statements of a transaction run with SetMaxOpenConns(1)", func(t *testing.T) {
		db := Open(t)
		db.SetMaxOpenConns(1)
		onOneConnection(t, db, use(db))
	})
}

// onOneConnection runs transactions of a library in several goroutines.
func onOneConnection(t *testing.T, db *sql.DB, notes Notes) {
	t.Helper()
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			errs[i] = session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
				if err := notes.Add(ctx, "one"); err != nil {
					return err
				}
				if err := notes.AddAll(ctx, "two", "three"); err != nil {
					return err
				}
				_, err := notes.List(ctx)
				return err
			})
		})
	}
	wg.Wait()
	check.OK(t, errors.Join(errs...))
	texts, err := notes.List(t.Context())
	check.OK(t, err)
	check.Equal(t, len(texts), 3*len(errs))
}

// CheckOn runs the statements of a library in sessions and transactions of db, whose notes it changes.
func CheckOn(t *testing.T, db *sql.DB, notes Notes) {
	t.Run("a statement in a transaction is rolled back with it", func(t *testing.T) {
		empty(t, db)
		IsError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "INSERT INTO notes (text) VALUES ('plain')")
			check.OK(t, err)
			check.OK(t, notes.Add(ctx, "one"))
			Listed(t, ctx, notes, "plain", "one")
			Listed(t, t.Context(), notes) // others do not see it
			return ErrUndo
		}), ErrUndo)
		Listed(t, t.Context(), notes)
	})
	t.Run("a statement in a transaction is committed with it", func(t *testing.T) {
		empty(t, db)
		check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error { return notes.Add(ctx, "one") }))
		Listed(t, t.Context(), notes, "one")
	})
	t.Run("the library's own transaction is all or nothing", func(t *testing.T) {
		empty(t, db)
		check.OK(t, notes.AddAll(t.Context(), "one", "two"))
		refused(t, notes.AddAll(t.Context(), "three", ""))
		Listed(t, t.Context(), notes, "one", "two")
	})
	t.Run("the library's own transaction is a savepoint within another one", func(t *testing.T) {
		empty(t, db)
		IsError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			check.OK(t, notes.Add(ctx, "one"))
			refused(t, notes.AddAll(ctx, "two", "")) // and the outer one goes on
			check.OK(t, notes.AddAll(ctx, "three", "four"))
			Listed(t, ctx, notes, "one", "three", "four")
			return ErrUndo
		}), ErrUndo)
		Listed(t, t.Context(), notes)
	})
	t.Run("a statement with another context is outside the transaction", func(t *testing.T) {
		empty(t, db)
		IsError(t, session.Tx(t.Context(), db, nil, func(context.Context) error {
			check.OK(t, notes.Add(context.Background(), "outside"))
			return ErrUndo
		}), ErrUndo)
		Listed(t, t.Context(), notes, "outside")
	})
	t.Run("a statement after the transaction's end fails", func(t *testing.T) {
		var late context.Context
		check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error { late = ctx; return nil }))
		_, err := notes.List(late)
		IsError(t, err, context.Canceled)
		_, err = notes.List(context.WithoutCancel(late))
		IsError(t, err, session.ErrEnded)
	})
	t.Run("a session that has session state keeps its connection for all statements", func(t *testing.T) {
		empty(t, db)
		check.OK(t, session.Do(t.Context(), db, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "CREATE TEMPORARY TABLE state ()")
			check.OK(t, err)
			check.OK(t, notes.Add(ctx, "one"))
			check.OK(t, notes.AddAll(ctx, "two", "three"))
			var others int
			row := db.QueryRowContext(ctx, "SELECT count(*) FROM notes WHERE backend <> pg_backend_pid()")
			check.OK(t, row.Scan(&others))
			check.Equal(t, others, 0)
			Listed(t, ctx, notes, "one", "two", "three")
			return nil
		}))
	})
	AllReleased(t, db)
}

// IsError fails the test now unless err is target.
func IsError(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("the error is %v, and should be %v", err, target)
	}
}

// AllReleased waits until no connection of db is in use.
func AllReleased(t *testing.T, db *sql.DB) {
	t.Helper()
	c, ok := pgsafe.ConnectorOf(db)
	check.Equal(t, ok, true)
	pgtest.Eventually(t, "every connection is released", func() bool { return c.Stats().InUse == 0 })
}

// Listed checks the texts of all notes.
func Listed(t *testing.T, ctx context.Context, notes Notes, want ...string) {
	t.Helper()
	got, err := notes.List(ctx)
	check.OK(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("the notes are %q, and should be %q", got, want)
	}
}

func empty(t *testing.T, db *sql.DB) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), "DELETE FROM notes")
	check.OK(t, err)
}

// refused checks that err is the server's, for a note without a text.
func refused(t *testing.T, err error) {
	t.Helper()
	if kind := pgsafe.KindOf(err); kind != pgsafe.KindConstraint {
		t.Fatalf("the error is %v, of kind %v", err, kind)
	}
}
