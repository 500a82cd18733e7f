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
)

// pair is a primary and its standby, both of the test's own.
type pair struct{ primary, standby *pgtest.Cluster }

func newPair(t *testing.T) pair {
	t.Helper()
	// What is committed is on its way to the standby at once.
	primary := pgtest.New(t, pgserver.Options{Settings: map[string]string{"synchronous_commit": "on"}})
	admin := primary.Admin(t)
	_, err := admin.Exec(t.Context(), "create table written (worker int, n int)")
	must(t, err)
	must(t, admin.Close(t.Context()))
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
	done, failed atomic.Int64
	lastWrite    atomic.Int64 // in Unix nanoseconds
	mu           sync.Mutex
	kinds        map[string]int // of failures
	stop         context.CancelFunc
	wg           sync.WaitGroup
}

// startWriters has ten workers write through db until stop.
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
	return w
}

func (w *writing) write(ctx context.Context, db *sql.DB, worker, n int) {
	statement, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := db.ExecContext(statement, "insert into written values ($1, $2)", worker, n)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		w.lastWrite.Store(time.Now().UnixNano())
		w.done.Add(1)
	default:
		w.failed.Add(1)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.kinds[pgsafe.KindOf(err).String()+" "+pgsafe.SQLState(err)]++
	}
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

func (w *writing) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d writes, %d failed %v", w.done.Load(), w.failed.Load(), w.kinds)
}

// TestFailover kills the primary under load, promotes the standby, and brings the old primary back as its standby, for
// pgsafe and pgx's own driver at once. It prints what both make of it.
func TestFailover(t *testing.T) {
	for _, attrs := range []string{"read-write", "primary"} {
		t.Run("the pool finds the new primary by itself with target_session_attrs="+attrs, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			ours, theirs := open(t, pgsafe.DriverName, p.dsn(attrs)), open(t, "pgx", p.dsn(attrs))
			both := map[string]*writing{"pgsafe": startWriters(t, ours), "pgx": startWriters(t, theirs)}
			defer both["pgsafe"].end()
			defer both["pgx"].end()
			both["pgsafe"].more(t, 50)
			both["pgx"].more(t, 50)

			must(t, p.primary.Kill())
			killed := time.Now()
			must(t, p.standby.Promote(t.Context()))
			promoted := time.Now()
			first := map[string]time.Duration{}
			for name, w := range both {
				from := w.done.Load()
				pgtest.Eventually(t, name+" writes again", func() bool { return w.done.Load() > from })
				first[name] = time.Unix(0, w.lastWrite.Load()).Sub(killed)
			}
			t.Logf("promotion took %.2f s; seconds from the kill to the first write seen: %.2f (pgsafe), %.2f (pgx)",
				promoted.Sub(killed).Seconds(), first["pgsafe"].Seconds(), first["pgx"].Seconds())

			must(t, p.primary.Rejoin(t.Context(), p.standby.Server))
			both["pgsafe"].more(t, 50)
			for _, name := range []string{"pgsafe", "pgx"} {
				both[name].end()
				t.Logf("%s: %v", name, both[name])
			}
			equal(t, one[int](t, ours, "select inet_server_port()"), p.standby.Port())
			equal(t, one[bool](t, ours, "select pg_is_in_recovery()"), false)
		})
	}
	t.Run("a server that becomes read-only is left after one failed write", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		db := open(t, pgsafe.DriverName, p.dsn("read-write"))
		holdAll(t, db, 5)()
		admin := p.primary.Admin(t)
		_, err := admin.Exec(t.Context(), "alter system set default_transaction_read_only = on")
		must(t, err)
		must(t, p.primary.Reload(t.Context()))
		must(t, p.standby.Promote(t.Context()))
		pgtest.Eventually(t, "the setting is in force", func() bool {
			return one[string](t, db, "show default_transaction_read_only") == "on"
		})
		_, err = db.ExecContext(t.Context(), "insert into written values (1, 1)")
		equal(t, pgsafe.SQLState(err), "25006")
		for range 10 {
			exec(t, db, "insert into written values (1, 2)")
		}
		equal(t, one[int](t, db, "select inet_server_port()"), p.standby.Port())
	})
	t.Run("a string without target_session_attrs stays where it is", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		db := open(t, pgsafe.DriverName, p.standby.URI(""))
		_, err := db.ExecContext(t.Context(), "insert into written values (1, 1)")
		equal(t, pgsafe.SQLState(err), "25006")
		before := statsOf(t, db).Opened
		equal(t, one[int](t, db, "select inet_server_port()"), p.standby.Port())
		equal(t, statsOf(t, db).Opened, before)
	})
}
