package pgsafe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// opener is a layer that is given a driver and opens each handle by Driver.Open, as sqldblogger's
// is (github.com/simukti/sqldb-logger, connector.go).
type opener struct {
	dsn    string
	driver driver.Driver
}

func (o opener) Connect(context.Context) (driver.Conn, error) { return o.driver.Open(o.dsn) }
func (o opener) Driver() driver.Driver                        { return o.driver }

func TestConnectorOf(t *testing.T) {
	t.Run("ConnectorOf returns the Connector of a DB, and the same one each time", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		first, ok := pgsafe.ConnectorOf(db)
		check.Equal(t, ok, true)
		second, ok := pgsafe.ConnectorOf(db)
		check.Equal(t, ok, true)
		check.Equal(t, first, second)
	})
	t.Run("ConnectorOf finds no Connector behind a layer around another DB's driver", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		other := open(t, pgsafe.DriverName, uri)
		db := sql.OpenDB(opener{uri, other.Driver()})
		defer db.Close()
		check.OK(t, db.PingContext(t.Context()))
		if c, ok := pgsafe.ConnectorOf(db); ok {
			t.Errorf("it found %v", c)
		}
	})
}

func TestHandlesOfDriverOpen(t *testing.T) {
	t.Run("a handle of Driver.Open opens one connection, whatever the profile in the environment", func(t *testing.T) {
		t.Setenv("PGSAFE_PROFILE", "production")
		uri := pgtest.Shared(t).Database(t)
		db := sql.OpenDB(opener{uri, &pgsafe.Driver{}})
		defer db.Close()
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		for range 3 {
			_, err = conn.ExecContext(t.Context(), "select 1")
			check.OK(t, err)
		}
		check.Equal(t, pgtest.Shared(t).Sessions(t, databaseOf(t, uri)), 1)
	})
}
