package pgsafetest

import (
	"context"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgserver"
)

// startTimeout bounds how long a server may take to start on a busy machine.
const startTimeout = 2 * time.Minute

// Server starts a PostgreSQL server of the test's own, with its files in a temporary directory, and
// returns the connection string of its superuser and its one database, which is empty. It stops
// when t ends. It listens on localhost only, takes every local user without a password, and does
// not sync its files.
//
// The program is the one in PGSAFE_PG_BIN, the first one in PATH, or a common place of the system's
// packages. The test fails at once if there is none. A test process that runs as root needs an
// operating system user postgres or nobody.
func Server(t testing.TB) (dsn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := pgserver.Start(ctx, pgserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(pgserver.Immediate); err != nil {
			t.Errorf("pgsafetest: stopping the server: %v", err)
		}
	})
	return s.URI("")
}
