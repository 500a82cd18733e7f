package bun_test

import (
	"context"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	notes "github.com/pgsafe/pgsafe/examples/bun"
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

func TestConn(t *testing.T) {
	t.Run("a query that is given the handle runs in the transaction, and another beside it", func(t *testing.T) {
		db := fit.Open(t)
		plain := bun.NewDB(db.Unwrap(), pgdialect.New())
		check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
			_, err := plain.NewInsert().Conn(db).Model(&notes.Note{Text: "one"}).Exec(ctx)
			check.OK(t, err)
			within, err := plain.NewSelect().Conn(db).Model((*notes.Note)(nil)).Count(ctx)
			check.OK(t, err)
			beside, err := plain.NewSelect().Model((*notes.Note)(nil)).Count(ctx)
			check.OK(t, err)
			if within != 1 || beside != 0 {
				t.Errorf("%d notes within the transaction, %d beside it", within, beside)
			}
			return nil
		}))
	})
	t.Run("a query that is given the handle scans one page and counts all within the transaction", func(t *testing.T) {
		db := fit.Open(t)
		check.OK(t, db.Tx(t.Context(), nil, func(ctx context.Context) error {
			check.OK(t, notes.New(db).AddAll(ctx, "one", "two", "three"))
			var page []notes.Note
			n, err := notes.Open(db).NewSelect().Conn(db).Model(&page).Order("id").Limit(2).ScanAndCount(ctx)
			check.OK(t, err)
			if n != 3 || len(page) != 2 {
				t.Errorf("%d notes of %d", len(page), n)
			}
			return nil
		}))
	})
}

func TestTenants(t *testing.T) {
	t.Run("code in sessions keeps them apart", func(t *testing.T) {
		tenants := fit.NewTenants(t)
		db := session.Wrap(tenants.DB)
		tenants.Check(t, notes.New(db), fit.Scopes(db)...)
	})
}
