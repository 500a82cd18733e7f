package telemetry_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/telemetry"
)

// The race detector makes this test fail if statements share a slice of attributes that one of them sorts
// (attribute.NewSet sorts in place).
func TestStatementsThatAreNewAtOnceAreMeasuredApart(t *testing.T) {
	r := newRecorder(t)
	unsorted := telemetry.WithAttributes(attribute.String("z", "1"), attribute.String("a", "1"))
	db := r.open(pgtest.Shared(t), "", pgsafe.WithTelemetry(unsorted))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			text := ";" // which has no summary
			if i%2 == 0 {
				text = fmt.Sprintf("SELECT count(*) FROM pg_class AS c%d", i)
			}
			_, err := db.ExecContext(context.Background(), text)
			check.OK(t, err)
		})
	}
	wg.Wait()
	if r.Count("db.client.operation.duration") == 0 {
		t.Error("nothing was measured")
	}
}
