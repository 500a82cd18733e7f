package records_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
