package sqlx_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/examples/internal/notestest"
	notes "github.com/pgsafe/pgsafe/examples/sqlx"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	notestest.Check(t, func(db *sql.DB) notestest.Notes { return notes.New(db) })
}

func TestTenants(t *testing.T) {
	t.Run("row-level security follows the context through sqlx", func(t *testing.T) {
		tenants := notestest.NewTenants(t)
		tenants.Check(t, notes.New(tenants.DB))
	})
}

func TestWithoutContext(t *testing.T) {
	t.Run("a method of sqlx without a context is outside the transaction", func(t *testing.T) {
		db := notestest.Open(t)
		notestest.IsError(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			check.OK(t, notes.New(db).Add(ctx, "inside"))
			sqlx.NewDb(db, pgsafe.DriverName).MustExec("INSERT INTO notes (text) VALUES ('outside')")
			return notestest.ErrUndo
		}), notestest.ErrUndo)
		notestest.Listed(t, t.Context(), notes.New(db), "outside")
	})
}

func TestBindDriver(t *testing.T) {
	db := notestest.Open(t)
	named := func(driverName string) error {
		_, err := sqlx.NewDb(db, driverName).NamedExecContext(t.Context(), "INSERT INTO notes (text) VALUES (:text)",
			notes.Note{Text: "one"})
		return err
	}
	t.Run("sqlx writes dollar placeholders for a bound driver", func(t *testing.T) {
		check.OK(t, named(pgsafe.DriverName))
	})
	t.Run("sqlx sends question marks for an unknown driver", func(t *testing.T) {
		check.Equal(t, pgsafe.SQLState(named("unheard of")), "42601")
	})
}
