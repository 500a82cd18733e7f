package pgtest

import (
	"context"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgserver"
)

// PgBouncer starts a pooler in front of c: in transaction mode and with three server connections
// for each database, unless o says otherwise. It is stopped when the test ends. A machine without
// PgBouncer fails the test.
func PgBouncer(tb testing.TB, c *Cluster, o pgserver.PgBouncerOptions) *pgserver.PgBouncer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	b, err := pgserver.StartPgBouncer(ctx, c.Server, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			log := b.Log()
			tb.Logf("the pooler's log ends with:\n%s", log[max(0, len(log)-8<<10):])
		}
		if err := b.Stop(); err != nil {
			tb.Errorf("pgtest: stopping the pooler: %v", err)
		}
	})
	return b
}
