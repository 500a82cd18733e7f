package telemetry_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/telemetry/layer"
	"github.com/pgsafe/pgsafe/telemetry"
)

func TestALayerThatIsNotLinkedIsRefusedByOpen(t *testing.T) {
	const dsn = "postgres://u:s3cretPw@h/db?pgsafe_telemetry=otelsql"
	t.Run("sql.Open names the package to import", func(t *testing.T) {
		_, err := sql.Open(pgsafe.DriverName, dsn)
		var refused *pgsafe.DSNError
		if !errors.As(err, &refused) {
			t.Fatalf("got %v", err)
		}
		if refused.Part != "pgsafe_telemetry" || refused.Code != pgsafe.CodeUnsupported ||
			!strings.Contains(refused.Hint, `import _ "github.com/pgsafe/pgsafe/pgsafeotelsql"`) {
			t.Errorf("got %v", refused)
		}
		if pgtest.Shows(err.Error(), "s3cretPw") {
			t.Errorf("the error shows the password: %v", err)
		}
	})
	t.Run("telemetry.Off outranks the connection string", func(t *testing.T) {
		c, err := pgsafe.NewConnector(dsn, pgsafe.WithTelemetry(telemetry.Off()))
		check.OK(t, err)
		check.OK(t, c.Close())
	})
	t.Run("Inspect accepts the string, which another program can open", func(t *testing.T) {
		_, err := pgsafe.Inspect(dsn)
		check.OK(t, err)
	})
}

// notingLayer is a library that records what it gets.
type notingLayer struct {
	pool  layer.Pool
	wraps int
	dbs   int
}

func (l *notingLayer) Wrap(next driver.Connector, pool layer.Pool) (driver.Connector, error) {
	l.pool = pool
	l.wraps++
	return next, nil
}

func (l *notingLayer) ObserveDB(*sql.DB, layer.Pool) (metric.Registration, error) {
	l.dbs++
	return noopmetric.Registration{}, nil
}

func TestALayerGetsTheStatementsAndThePoolStaysObserved(t *testing.T) {
	r := newRecorder(t)
	library := &notingLayer{}
	db := r.open(pgtest.Shared(t), "", pgsafe.WithTelemetry(telemetry.WithLayer(layer.New(library))))
	exec(t, db, context.Background(), "SELECT 1 FROM people WHERE name = 's3cretPw'")
	if library.wraps != 1 || library.dbs != 1 {
		t.Errorf("it wrapped %d connectors and observed %d DBs", library.wraps, library.dbs)
	}
	if n := len(r.Ended("SELECT people")); n != 0 {
		t.Errorf("pgsafe made %d spans of the layer's statement", n)
	}
	r.One("CONNECT")
	if _, there := r.Metrics()["db.client.connection.count"]; !there {
		t.Error("the pool is not observed")
	}
	s := library.pool.Describe("SELECT 1 FROM people WHERE name = 's3cretPw'")
	if s.Name != "SELECT people" || len(s.Span) != 2 || len(s.Measured) != 1 ||
		strings.Contains(s.Span[1].Value.String(), "s3cret") {
		t.Errorf("the statement is %v", s)
	}
	if library.pool.Failed(sql.ErrNoRows) || !library.pool.Failed(errors.New("s3cretPw")) {
		t.Error("it does not distinguish failures")
	}
}
