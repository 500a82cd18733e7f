package sqlc_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/pgsafe/pgsafe/examples/internal/fit"
	notes "github.com/pgsafe/pgsafe/examples/sqlc"
	"github.com/pgsafe/pgsafe/examples/sqlc/queries"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/session"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	db := fit.Open(t)
	fit.Check(t, db, notes.New(db))
}

func TestTenants(t *testing.T) {
	t.Run("existing code on a plain *sql.DB keeps tenants apart", func(t *testing.T) {
		tenants := fit.NewTenants(t)
		tenants.Check(t, existing{tenants.DB, queries.New(tenants.DB)}, fit.Bare)
	})
	t.Run("code in sessions keeps tenants apart", func(t *testing.T) {
		tenants := fit.NewTenants(t)
		db := session.Wrap(tenants.DB)
		tenants.Check(t, notes.New(db), fit.Scopes(db)...)
	})
}

// existing is code as it was before sessions.
type existing struct {
	db *sql.DB
	*queries.Queries
}

func (e existing) Add(ctx context.Context, text string) error { return e.AddNote(ctx, text) }

func (e existing) AddAll(ctx context.Context, texts ...string) error {
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, text := range texts {
		if err := e.WithTx(tx).AddNote(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (e existing) List(ctx context.Context) ([]string, error) { return e.ListNotes(ctx) }
