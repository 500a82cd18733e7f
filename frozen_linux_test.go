package pgsafe_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// freezing is how long the server is frozen.
const freezing = 5 * time.Second

// TestServerThatIsFrozen stops all processes of a server under load, with pgx beside.
func TestServerThatIsFrozen(t *testing.T) {
	cluster := pgtest.New(t, pgserver.Options{})
	loads := map[string]*impatience{}
	for _, name := range []string{"pgx", pgsafe.DriverName} {
		loads[name] = startImpatience(t, open(t, name, cluster.Database(t)))
		loads[name].moves(t, 100)
	}
	before := statsOf(t, loads[pgsafe.DriverName].db).Opened
	check.OK(t, cluster.Freeze())
	t.Cleanup(func() { _ = cluster.Thaw() })
	atFreeze := map[string]int64{}
	for name, l := range loads {
		atFreeze[name] = l.good.Load()
	}
	<-time.After(freezing)
	for name, l := range loads {
		if n := l.good.Load() - atFreeze[name]; n > impatient { // those that had their answer
			t.Errorf("%s: %d statements succeeded on a frozen server", name, n)
		}
	}
	check.OK(t, cluster.Thaw())
	thawed := time.Now()
	for name, l := range loads {
		l.moves(t, 1)
		first := time.Since(thawed)
		l.moves(t, 100)
		l.end()
		t.Logf("%s: %v; the first after the freeze seen after %v", name, l, first.Round(time.Millisecond))
	}
	l := loads[pgsafe.DriverName]
	t.Logf("pgsafe: %d attempts to connect", statsOf(t, l.db).Opened-before)
	check.Equal(t, l.other.Load(), 0)
	if l.late.Load() == 0 {
		t.Error("no statement was late")
	}
	// Nobody stays behind: the server has as many sessions as the pool has connections.
	database := one[string](t, l.db, "select current_database()")
	pgtest.Eventually(t, "the server has the pool's sessions only", func() bool {
		return cluster.Activity(t, database) == statsOf(t, l.db).Total
	})
}

// impatient is how many workers an impatience has.
const impatient = 10

// impatience is workers that query all the time and give each statement half a second.
type impatience struct {
	db                *sql.DB
	good, late, other atomic.Int64
	longest           atomic.Int64 // statement, in nanoseconds
	stop              context.CancelFunc
	running           sync.WaitGroup
}

func startImpatience(t *testing.T, db *sql.DB) *impatience {
	t.Helper()
	db.SetMaxOpenConns(impatient)
	db.SetMaxIdleConns(impatient)
	ctx, cancel := context.WithCancel(context.Background())
	l := &impatience{db: db, stop: cancel}
	for worker := range impatient {
		l.running.Go(func() {
			for ctx.Err() == nil {
				l.query(worker)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *impatience) query(worker int) {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	started := time.Now()
	var n int
	err := l.db.QueryRowContext(ctx, "select $1::int", worker).Scan(&n)
	switch pgsafe.KindOf(err) {
	case pgsafe.KindNone:
		l.good.Add(1)
	case pgsafe.KindTimeout:
		l.late.Add(1)
	default:
		l.other.Add(1)
	}
	for took := int64(time.Since(started)); ; {
		if longest := l.longest.Load(); took <= longest || l.longest.CompareAndSwap(longest, took) {
			return
		}
	}
}

func (l *impatience) moves(t *testing.T, n int64) {
	t.Helper()
	from := l.good.Load()
	pgtest.Eventually(t, "queries succeed", func() bool { return l.good.Load() >= from+n })
}

func (l *impatience) end() {
	l.stop()
	l.running.Wait()
}

func (l *impatience) String() string {
	return fmt.Sprintf("%d good, %d late, %d other errors, the longest statement took %v", l.good.Load(), l.late.Load(),
		l.other.Load(), time.Duration(l.longest.Load()).Round(time.Millisecond))
}
