package ent_test

import (
	"context"
	"testing"

	notes "github.com/pgsafe/pgsafe/examples/ent"
	"github.com/pgsafe/pgsafe/examples/internal/fit"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	db := fit.Open(t)
	fit.Check(t, db, notes.New(db))
}

func TestRename(t *testing.T) {
	t.Run("the transaction that ent makes of an update nests", func(t *testing.T) {
		db := fit.Open(t)
		n := notes.New(db)
		check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
			check.OK(t, n.Add(ctx, "one"))
			if n.Rename(ctx, "one", "") == nil {
				t.Error("a note has no text")
			}
			return n.Rename(ctx, "one", "two")
		}))
		if texts, err := n.List(t.Context()); err != nil || len(texts) != 1 || texts[0] != "two" {
			t.Errorf("the notes are %q, %v", texts, err)
		}
	})
}

func TestTenants(t *testing.T) {
	t.Run("code in sessions keeps them apart", func(t *testing.T) {
		tenants := fit.NewTenants(t)
		db := session.Wrap(tenants.DB)
		tenants.Check(t, notes.New(db), fit.Scopes(db)...)
	})
}
