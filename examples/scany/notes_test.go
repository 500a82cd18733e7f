package scany_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/examples/internal/fit"
	notes "github.com/pgsafe/pgsafe/examples/scany"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/session"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNotes(t *testing.T) {
	db := fit.Open(t)
	fit.Check(t, db, notes.New(db))
}

func TestTenants(t *testing.T) {
	t.Run("code in sessions keeps tenants apart", func(t *testing.T) {
		tenants := fit.NewTenants(t)
		db := session.Wrap(tenants.DB)
		tenants.Check(t, notes.New(db), fit.Scopes(db)...)
	})
}
