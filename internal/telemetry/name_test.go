package telemetry_test

import (
	"context"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/pgtest/oteltest"
	"github.com/pgsafe/pgsafe/telemetry"
)

func TestPoolName(t *testing.T) {
	for _, tt := range []struct {
		name, key string
		option    telemetry.Option
		want      string
	}{
		{"the key pgsafe_pool_name names the pool", "&pgsafe_pool_name=orders", nil, "orders"},
		{"WithPoolName outranks the key", "&pgsafe_pool_name=orders", telemetry.WithPoolName("stock"), "stock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := oteltest.New(t)
			options := []telemetry.Option{telemetry.WithTracerProvider(r.Tracer)}
			if tt.option != nil {
				options = append(options, tt.option)
			}
			db, err := pgsafe.Open(pgtest.Shared(t).Database(t)+tt.key, pgsafe.WithTelemetry(options...))
			check.OK(t, err)
			_, err = db.ExecContext(context.Background(), "SELECT 1")
			check.OK(t, err)
			check.OK(t, db.Close())
			check.Equal(t, oteltest.Text(r.One("SELECT"), "db.client.connection.pool.name"), tt.want)
		})
	}
}
