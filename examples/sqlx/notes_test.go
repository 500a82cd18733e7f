package sqlx_test

import (
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/examples/internal/fit"
	notes "github.com/pgsafe/pgsafe/examples/sqlx"
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

func TestBindDriver(t *testing.T) {
	db := fit.Open(t).Unwrap()
	named := func(driverName string) error {
		_, err := sqlx.NewDb(db, driverName).NamedExecContext(t.Context(), "INSERT INTO notes (text) VALUES (:text)",
			notes.Note{Text: "one"})
		return err
	}
	t.Run("sqlx writes dollar placeholders for a bound driver", func(t *testing.T) {
		if err := named(pgsafe.DriverName); err != nil {
			t.Error(err)
		}
	})
	t.Run("sqlx sends question marks for an unknown driver", func(t *testing.T) {
		if err := named("unheard of"); pgsafe.SQLState(err) != "42601" {
			t.Errorf("the error is %v", err)
		}
	})
}
