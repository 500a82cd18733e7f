package ent_test

import (
	"context"
	"database/sql"
	"testing"

	notes "github.com/pgsafe/pgsafe/examples/ent"
	"github.com/pgsafe/pgsafe/examples/internal/notestest"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	notestest.Check(t, func(db *sql.DB) notestest.Notes { return notes.New(db) })
}

func TestRename(t *testing.T) {
	t.Run("an update of ent that fails is undone alone", func(t *testing.T) {
		db := notestest.Open(t)
		n := notes.New(db)
		check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			check.OK(t, n.Add(ctx, "one"))
			if n.Rename(ctx, "one", "") == nil {
				t.Error("a note has no text")
			}
			return n.Rename(ctx, "one", "two")
		}))
		notestest.Listed(t, t.Context(), n, "two")
	})
}

func TestTenants(t *testing.T) {
	t.Run("row-level security follows the context through ent", func(t *testing.T) {
		tenants := notestest.NewTenants(t)
		tenants.Check(t, notes.New(tenants.DB))
	})
}
