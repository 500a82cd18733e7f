package pgsafe_test

import (
	"log/slog"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// TestMain keeps the records of connectors without a logger out of the output.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	pgtest.Main(m)
}
