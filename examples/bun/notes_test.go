package bun_test

import (
	"context"
	"database/sql"
	"testing"

	notes "github.com/pgsafe/pgsafe/examples/bun"
	"github.com/pgsafe/pgsafe/examples/internal/notestest"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	notestest.Check(t, func(db *sql.DB) notestest.Notes { return notes.New(db) })
}

func TestPage(t *testing.T) {
	t.Run("two queries that bun runs at once are both in the transaction", func(t *testing.T) {
		db := notestest.Open(t)
		n := notes.New(db)
		check.OK(t, session.Tx(t.Context(), db, nil, func(ctx context.Context) error {
			check.OK(t, n.AddAll(ctx, "one", "two", "three"))
			page, all, err := n.Page(ctx, 2)
			check.OK(t, err)
			check.Equal(t, all, int64(3))
			check.Equal(t, len(page), 2)
			return nil
		}))
	})
}

func TestTenants(t *testing.T) {
	t.Run("row-level security follows the context through bun", func(t *testing.T) {
		tenants := notestest.NewTenants(t)
		tenants.Check(t, notes.New(tenants.DB))
	})
}
