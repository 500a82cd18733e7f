package session_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// TestPaths goes random ways through sessions and transactions, several at once, and compares a ledger on the server with
// what a model says must be in it. PGSAFE_TEST_PATHS is how many.
func TestPaths(t *testing.T) {
	paths := 400
	if s := os.Getenv("PGSAFE_TEST_PATHS"); s != "" {
		var err error
		paths, err = strconv.Atoi(s)
		check.OK(t, err)
	}
	sqlDB := open(t, with(pgtest.Shared(t).Database(t), "pool_max_conns=8"))
	exec(t, t.Context(), sqlDB, "CREATE TABLE ledger (id bigint, tenant text)")
	m := &model{t: t, db: session.Wrap(sqlDB, session.WithPatience(time.Minute)), fate: map[int64]fate{}}
	next := atomic.Int64{}
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(paths); n = next.Add(1) {
				m.walk(n)
			}
		})
	}
	wg.Wait()
	m.outliving.Wait()
	allBack(t, sqlDB)
	m.compare(sqlDB)
}

// fate is what the model says of an entry. One of which nothing is said must not be there.
type fate struct {
	tenant  string
	certain bool // else it may be there or not: its context ended while it ran
}

type model struct {
	t         *testing.T
	db        *session.DB
	outliving sync.WaitGroup // goroutines that were left to themselves
	ids       atomic.Int64

	mu   sync.Mutex
	fate map[int64]fate
}

func (m *model) compare(db execer) {
	present := map[int64]string{}
	rows, err := m.db.QueryContext(m.t.Context(), "SELECT id, tenant FROM ledger")
	check.OK(m.t, err)
	for rows.Next() {
		var id int64
		var tenant string
		check.OK(m.t, rows.Scan(&id, &tenant))
		if _, twice := present[id]; twice {
			m.t.Errorf("%d is there twice", id)
		}
		present[id] = tenant
		if f, known := m.fate[id]; !known {
			m.t.Errorf("%d is there, though what wrote it was undone", id)
		} else if f.tenant != tenant {
			m.t.Errorf("%d was written as tenant %q and should be %q's", id, tenant, f.tenant)
		}
	}
	check.OK(m.t, rows.Err())
	certain := 0
	for id, f := range m.fate {
		if _, there := present[id]; f.certain && !there {
			m.t.Errorf("%d is lost", id)
		}
		if f.certain {
			certain++
		}
	}
	m.t.Logf("%d entries were tried, %d are certain to be there, %d are there", m.ids.Load(), certain, len(present))
	check.Equal(m.t, certain > 0, true)
	check.Equal(m.t, one[int](m.t, m.t.Context(), db,
		"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"), 0)
}

// walk goes one way. It is a goroutine of its own, since some ways end that.
func (m *model) walk(n int64) {
	w := &way{model: m, rnd: rand.New(rand.NewPCG(uint64(n), 7)), tenant: strconv.FormatInt(n, 10)}
	ctx := session.WithSettings(m.t.Context(), map[string]string{"app.tenant": w.tenant})
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil && r != errWay { //nolint:errorlint // it must be the same
				panic(r)
			}
		}()
		err := m.db.Do(ctx, func(ctx context.Context) error { return w.outside(ctx, 0) })
		if err != nil && !w.expected(ctx, err) {
			m.t.Errorf("way %d ended with %v", n, err)
		}
	}()
	<-done
}

// errWay is the error, and the panic, that a way ends with.
var errWay = errors.New("the way's")

type way struct {
	*model
	rnd    *rand.Rand
	tenant string
}

func (w *way) expected(_ context.Context, err error) bool {
	return errors.Is(err, errWay) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, session.ErrRolledBack)
}

// say tells the model what becomes of entries.
func (w *way) say(certain bool, ids ...int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		w.fate[id] = fate{w.tenant, certain}
	}
}

const write = "INSERT INTO ledger VALUES ($1, current_setting('app.tenant', true))"

// outside takes some steps outside of transactions.
func (w *way) outside(ctx context.Context, depth int) error {
	for range 1 + w.rnd.IntN(4) {
		if err := w.outsideStep(ctx, depth); err != nil {
			return err
		}
	}
	return w.end()
}

func (w *way) outsideStep(ctx context.Context, depth int) error {
	switch step := w.rnd.IntN(9); step {
	case 0, 1:
		return w.writeAlone(ctx)
	case 2:
		_, err := w.db.QueryContext(ctx, "SELECT generate_series(1, 1000)") // is left open
		return err
	case 3:
		var wg sync.WaitGroup
		errs := make([]error, 3)
		for i := range errs {
			wg.Go(func() { errs[i] = w.writeAlone(ctx) })
		}
		wg.Wait()
		return errors.Join(errs...)
	case 4:
		w.outliving.Go(func() { _ = w.writeAlone(ctx) })
		return nil
	case 5:
		if depth > 2 {
			return nil
		}
		limited, cancel := w.limited(ctx)
		defer cancel()
		if err := w.outside(limited, depth+1); err != nil && !w.expected(ctx, err) {
			return err
		}
		return ctx.Err()
	default:
		return w.transact(ctx)
	}
}

// limited returns a context that ends soon, or at once.
func (w *way) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.rnd.IntN(4) == 0 {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, cancel
	}
	return context.WithTimeout(ctx, time.Duration(w.rnd.IntN(8000))*time.Microsecond)
}

// writeAlone writes outside of transactions. If the context ends meanwhile it may have happened or not.
func (w *way) writeAlone(ctx context.Context) error {
	id := w.ids.Add(1)
	w.say(false, id)
	_, err := w.db.ExecContext(ctx, write, id)
	if err == nil {
		w.say(true, id)
	}
	return err
}

// end ends a function in one of the ways that there are.
func (w *way) end() error {
	switch w.rnd.IntN(12) {
	case 0:
		return errWay
	case 1:
		panic(errWay)
	case 2:
		runtime.Goexit()
	}
	return nil
}

// transact writes in a transaction, and tells the model what its end means.
func (w *way) transact(ctx context.Context) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if w.rnd.IntN(3) == 0 {
		limited, cancel = w.limited(ctx)
	}
	defer cancel()
	var ids []int64
	err := w.db.Tx(limited, nil, func(ctx context.Context) (err error) {
		ids, err = w.inside(ctx, 0)
		w.say(false, ids...) // what becomes of them is not known until Tx returns
		return err
	})
	switch {
	case err == nil:
		w.say(true, ids...)
	case !errors.Is(err, session.ErrCommitUnknown):
		w.mu.Lock()
		for _, id := range ids {
			delete(w.fate, id)
		}
		w.mu.Unlock()
	}
	if err != nil && w.expected(ctx, err) {
		return ctx.Err()
	}
	return err
}

// inside takes some steps in a transaction, and returns what it wrote there.
func (w *way) inside(ctx context.Context, depth int) (ids []int64, err error) {
	for range 1 + w.rnd.IntN(4) {
		switch w.rnd.IntN(6) {
		case 0:
			if _, err := w.db.QueryContext(ctx, "SELECT generate_series(1, 1000)"); err != nil {
				return ids, err
			}
			return ids, w.end() // it is left open, so nothing can follow
		case 1:
			more, err := w.together(ctx)
			ids = append(ids, more...)
			if err != nil {
				return ids, err
			}
		case 2, 3:
			if depth > 2 {
				continue
			}
			more, err := w.nested(ctx, depth)
			ids = append(ids, more...)
			if err != nil {
				return ids, err
			}
		default:
			id := w.ids.Add(1)
			if _, err := w.db.ExecContext(ctx, write, id); err != nil {
				return ids, err
			}
			ids = append(ids, id)
		}
	}
	return ids, w.end()
}

// together writes from several goroutines.
func (w *way) together(ctx context.Context) ([]int64, error) {
	var wg sync.WaitGroup
	ids, errs := make([]int64, 3), make([]error, 3)
	for i := range ids {
		ids[i] = w.ids.Add(1)
		wg.Go(func() { _, errs[i] = w.db.ExecContext(ctx, write, ids[i]) })
	}
	wg.Wait()
	return ids, errors.Join(errs...)
}

// nested writes in a savepoint. If that fails the outer transaction goes on.
func (w *way) nested(ctx context.Context, depth int) (ids []int64, err error) {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if w.rnd.IntN(4) == 0 {
		limited, cancel = w.limited(ctx)
	}
	defer cancel()
	failed := true
	func() {
		defer func() {
			if r := recover(); r != nil && r != errWay { //nolint:errorlint // it must be the same
				panic(r)
			}
		}()
		err = w.db.Tx(limited, nil, func(ctx context.Context) (err error) {
			ids, err = w.inside(ctx, depth+1)
			return err
		})
		failed = err != nil
	}()
	if !failed {
		return ids, nil
	}
	if err != nil && !w.expected(ctx, err) {
		return nil, err
	}
	return nil, ctx.Err()
}
