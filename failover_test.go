package pgsafe_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// pair is a primary and its standby, both of the test's own.
type pair struct{ primary, standby *pgtest.Cluster }

func newPair(t *testing.T) pair {
	t.Helper()
	// What is committed is on its way to the standby at once.
	primary := pgtest.New(t, pgserver.Options{Settings: map[string]string{"synchronous_commit": "on"}})
	admin := primary.Admin(t)
	_, err := admin.Exec(t.Context(), "create table written (worker int, n int)")
	check.OK(t, err)
	check.OK(t, admin.Close(t.Context()))
	standby := pgtest.Standby(t, primary)
	replica := open(t, "pgx", standby.URI(""))
	pgtest.Eventually(t, "the standby has the table", func() bool {
		return one[bool](t, replica, "select to_regclass('written') is not null")
	})
	return pair{primary, standby}
}

// dsn names both servers, the primary first.
func (p pair) dsn(attrs string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=%s",
		p.primary.Port(), p.standby.Port(), attrs)
}

// writing is what ten workers do all the time, and how it went.
type writing struct {
	dead     atomic.Bool  // the primary is: set once it is gone
	done     atomic.Int64 // writes
	underWay atomic.Int64 // failed writes that had begun while the primary lived
	later    atomic.Int64 // failed writes that began when it was dead
	back     atomic.Int64 // when the first of those succeeded that began when it was dead, in Unix nanoseconds
	mu       sync.Mutex
	kinds    map[string]int // of failures
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// startWriters has ten workers write through db until end.
func startWriters(t *testing.T, db *sql.DB) *writing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writing{kinds: map[string]int{}, stop: cancel}
	for i := range 10 {
		w.wg.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond) // an application that thinks
			defer tick.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				w.write(ctx, db, i, n)
				<-tick.C
			}
		})
	}
	t.Cleanup(w.end)
	return w
}

func (w *writing) write(ctx context.Context, db *sql.DB, worker, n int) {
	dead := w.dead.Load()
	_, err := db.ExecContext(ctx, "insert into written values ($1, $2)", worker, n)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		w.done.Add(1)
		if dead {
			w.back.CompareAndSwap(0, time.Now().UnixNano())
		}
	case dead:
		w.later.Add(1)
		w.note(err)
	default:
		w.underWay.Add(1)
		w.note(err)
	}
}

func (w *writing) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kinds[strings.TrimSpace(pgsafe.KindOf(err).String()+" "+pgsafe.SQLState(err))]++
}

// more waits for n further writes.
func (w *writing) more(t *testing.T, n int64) {
	t.Helper()
	from := w.done.Load()
	pgtest.Eventually(t, "writes succeed", func() bool { return w.done.Load() >= from+n })
}

func (w *writing) end() {
	w.stop()
	w.wg.Wait()
}

// tell describes how it went when the primary was gone at the given time.
func (w *writing) tell(gone time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("first write %.2f s after; %d writes, failed: %d under way at that moment, %d begun later %v",
		time.Unix(0, w.back.Load()).Sub(gone).Seconds(), w.done.Load(), w.underWay.Load(), w.later.Load(), w.kinds)
}

// TestFailover takes the primary away under load, promotes the standby, and brings the old primary back as its standby,
// for pgsafe and pgx's own driver at once. It prints what both make of it.
//
// A write that was under way when the primary died has an unknown outcome and is an error with any driver; a faster one
// has more of them. What a driver can do something about are those that begin later.
func TestFailover(t *testing.T) {
	for _, fault := range []struct {
		name, attrs string
		do          func(*pgtest.Cluster) error
	}{
		{"is killed, target_session_attrs=read-write", "read-write", func(c *pgtest.Cluster) error { return c.Kill() }},
		{"is killed, target_session_attrs=primary", "primary", func(c *pgtest.Cluster) error { return c.Kill() }},
		{"is shut down, target_session_attrs=read-write", "read-write", func(c *pgtest.Cluster) error { return c.Halt(pgserver.Fast) }},
	} {
		t.Run("the pool finds the new primary by itself: the old one "+fault.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			dsn := p.dsn(fault.attrs) + "&connect_timeout=60" // for promotions on a busy machine
			ours, theirs := open(t, pgsafe.DriverName, dsn), open(t, "pgx", dsn)
			pgsafes, pgxs := startWriters(t, ours), startWriters(t, theirs)
			pgsafes.more(t, 50)
			pgxs.more(t, 50)

			check.OK(t, fault.do(p.primary))
			gone := time.Now()
			pgsafes.dead.Store(true)
			pgxs.dead.Store(true)
			pgtest.Eventually(t, "it is felt", func() bool { return pgxs.later.Load() >= 100 })
			check.OK(t, p.standby.Promote(t.Context()))
			promoted := time.Now()
			for _, w := range []*writing{pgsafes, pgxs} {
				pgtest.Eventually(t, "writes succeed again", func() bool { return w.back.Load() > 0 })
			}

			check.OK(t, p.primary.Rejoin(t.Context(), p.standby.Server))
			pgsafes.more(t, 50)
			pgsafes.end()
			pgxs.end()
			t.Logf("the standby was promoted %.2f s after the primary was gone\npgsafe: %s\npgx: %s",
				promoted.Sub(gone).Seconds(), pgsafes.tell(gone), pgxs.tell(gone))
			check.Equal(t, pgsafes.later.Load(), 0)
			check.Equal(t, one[int](t, ours, "select inet_server_port()"), p.standby.Port())
			check.Equal(t, one[bool](t, ours, "select pg_is_in_recovery()"), false)
		})
	}
	t.Run("a server that becomes read-only is left after one failed write", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		db := open(t, pgsafe.DriverName, p.dsn("read-write"))
		holdAll(t, db, 5)()
		admin := p.primary.Admin(t)
		_, err := admin.Exec(t.Context(), "alter system set default_transaction_read_only = on")
		check.OK(t, err)
		check.OK(t, p.primary.Reload(t.Context()))
		check.OK(t, p.standby.Promote(t.Context()))
		pgtest.Eventually(t, "the setting is in force", func() bool {
			return one[string](t, db, "show default_transaction_read_only") == "on"
		})
		_, err = db.ExecContext(t.Context(), "insert into written values (1, 1)")
		check.Equal(t, pgsafe.SQLState(err), "25006")
		for range 10 {
			exec(t, db, "insert into written values (1, 2)")
		}
		check.Equal(t, one[int](t, db, "select inet_server_port()"), p.standby.Port())
	})
	t.Run("a string without target_session_attrs stays where it is", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		db := open(t, pgsafe.DriverName, p.standby.URI(""))
		_, err := db.ExecContext(t.Context(), "insert into written values (1, 1)")
		check.Equal(t, pgsafe.SQLState(err), "25006")
		before := statsOf(t, db).Opened
		check.Equal(t, one[int](t, db, "select inet_server_port()"), p.standby.Port())
		check.Equal(t, statsOf(t, db).Opened, before)
	})
}
