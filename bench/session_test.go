package bench_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/session"
)

// TestSessionCheckouts counts how often a request acquires a connection when no caller waits for one.
func TestSessionCheckouts(t *testing.T) {
	sqlDB := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
	sqlDB.SetMaxIdleConns(-1) // each checkout acquires a connection of the pool, which counts
	c, _ := pgsafe.ConnectorOf(sqlDB)
	sessions := session.Wrap(sqlDB, session.WithLinger(time.Hour))
	checkouts := func(handle func() error) int64 {
		before := c.Stats().Acquired
		if err := handle(); err != nil {
			t.Fatal(err)
		}
		return c.Stats().Acquired - before
	}
	pool := checkouts(func() error {
		return request(t.Context(), 0, func(ctx context.Context) error { return oneQuery(ctx, sqlDB) })
	})
	inOne := checkouts(func() error { return inSession(t.Context(), 0, sessions) })
	t.Logf("checkouts of a request of %d queries: %d on the pool, %d in a session", requestQueries, pool, inOne)
	if inOne != 1 || pool != requestQueries {
		t.Errorf("a session should make one checkout, and the pool %d", requestQueries)
	}
}

// queryer is a *sql.Conn or sessions.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// sessionAllocations bounds what a session adds to a query: the context of its rows, which ends them with the session.
const sessionAllocations = 10

// TestSessionAllocations compares a query on a connection that is held with one in a session that holds a connection.
func TestSessionAllocations(t *testing.T) {
	bare := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
	sessions := session.Wrap(bare, session.WithLinger(time.Hour))
	conn, err := bare.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	allocsOf := func(ctx context.Context, db queryer) float64 {
		return testing.AllocsPerRun(200, func() {
			if err := scanInt(db.QueryRowContext(ctx, query, 42)); err != nil {
				t.Fatal(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held := allocsOf(ctx, conn)
	var watched float64
	if err := sessions.Do(ctx, func(ctx context.Context) error { watched = allocsOf(ctx, sessions); return nil }); err != nil {
		t.Fatal(err)
	}
	t.Logf("allocations of a query on a connection that is held: %v, and in a session: %v", held, watched)
	if watched > held+sessionAllocations {
		t.Errorf("a session should add %d allocations at most", sessionAllocations)
	}
}
