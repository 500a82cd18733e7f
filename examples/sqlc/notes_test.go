package sqlc_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/pgsafe/pgsafe/examples/internal/notestest"
	notes "github.com/pgsafe/pgsafe/examples/sqlc"
	"github.com/pgsafe/pgsafe/examples/sqlc/queries"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	notestest.Check(t, func(db *sql.DB) notestest.Notes { return notes.New(db) })
}

func TestExistingCode(t *testing.T) {
	notestest.Check(t, func(db *sql.DB) notestest.Notes { return withTx{db, queries.New(db)} })
}

func TestTenants(t *testing.T) {
	t.Run("row-level security follows the context through generated code", func(t *testing.T) {
		tenants := notestest.NewTenants(t)
		tenants.Check(t, notes.New(tenants.DB))
	})
}

// withTx is code that knows nothing of package session.
type withTx struct {
	db *sql.DB
	*queries.Queries
}

func (n withTx) Add(ctx context.Context, text string) error { return n.AddNote(ctx, text) }

func (n withTx) AddAll(ctx context.Context, texts ...string) error {
	tx, err := n.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, text := range texts {
		if err := n.WithTx(tx).AddNote(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (n withTx) List(ctx context.Context) ([]string, error) { return n.ListNotes(ctx) }
