package scope_test

import (
	"context"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/scope"
	"github.com/pgsafe/pgsafe/session"
)

// BenchmarkCallSite shows what the capture of a call site adds to a statement, at 10 and at 40 frames
// below the application's.
func BenchmarkCallSite(b *testing.B) {
	for name, depth := range map[string]int{"10 frames": 10, "40 frames": 40} {
		b.Run("capture at "+name, func(b *testing.B) {
			b.ReportAllocs()
			below(depth, func() {
				for b.Loop() {
					scope.CallSite()
				}
			})
		})
	}
	b.Run("a query of one row", func(b *testing.B) {
		db, err := pgsafe.Open(pgtest.Shared(b).Database(b))
		check.OK(b, err)
		defer db.Close()
		check.OK(b, session.Do(b.Context(), db, func(ctx context.Context) error {
			for b.Loop() {
				check.OK(b, db.QueryRowContext(ctx, "SELECT 1").Scan(new(int)))
			}
			return nil
		}))
	})
}

// below calls f at a depth of the call stack.
//
//go:noinline
func below(depth int, f func()) {
	if depth == 0 {
		f()
		return
	}
	below(depth-1, f)
}
