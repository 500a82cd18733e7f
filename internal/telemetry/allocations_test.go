package telemetry_test

import (
	"context"
	"database/sql"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/telemetry"
)

// nowhere takes spans and drops them.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }

// TestWhatAQueryAllocates holds the numbers of allocations of a query.
func TestWhatAQueryAllocates(t *testing.T) {
	uri := pgtest.Shared(t).Database(t)
	ctx := context.Background()
	traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(nowhere{}))
	defer func() { check.OK(t, traces.Shutdown(ctx)) }()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	within, span := traces.Tracer("app").Start(ctx, "request")
	defer span.End()
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		options []pgsafe.Option
		most    float64
	}{
		{"a query without an SDK makes at most 17 allocations", ctx, nil, 17},
		{"a sampled query makes at most 23 allocations", within, []pgsafe.Option{pgsafe.WithTelemetry(
			telemetry.WithTracerProvider(traces), telemetry.WithMeterProvider(meters))}, 23},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db, err := pgsafe.Open(uri, tt.options...)
			check.OK(t, err)
			defer db.Close()
			n := int64(1000)
			allocations := testing.AllocsPerRun(500, func() { check.OK(t, one(tt.ctx, db, &n)) })
			// With the race detector sync.Pool drops what it gets at random (sync/pool.go, Pool.Put).
			if t.Logf("%.0f allocations", allocations); allocations > tt.most+2 {
				t.Errorf("it makes %v", allocations)
			}
		})
	}
}

// one runs a query with another argument each time, as an application does.
func one(ctx context.Context, db *sql.DB, n *int64) error {
	*n++
	var got int64
	return db.QueryRowContext(ctx, "select $1::int8", *n).Scan(&got)
}
