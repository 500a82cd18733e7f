package scany_test

import (
	"database/sql"
	"testing"

	"github.com/pgsafe/pgsafe/examples/internal/notestest"
	notes "github.com/pgsafe/pgsafe/examples/scany"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	notestest.Check(t, func(db *sql.DB) notestest.Notes { return notes.New(db) })
}

func TestTenants(t *testing.T) {
	t.Run("row-level security follows the context through scany", func(t *testing.T) {
		tenants := notestest.NewTenants(t)
		tenants.Check(t, notes.New(tenants.DB))
	})
}
