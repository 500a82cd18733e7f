package session_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// TestPaths goes random ways through sessions and transactions, several at once. Each transaction writes
// a number of parts, in random ways and from several goroutines, and meets a random end. The ledger has
// all of them or none: all if Tx returned nil, none if it failed, unless the outcome of COMMIT is
// unknown. PGSAFE_TEST_PATHS is how many ways it goes, and PGSAFE_TEST_SEED which.
func TestPaths(t *testing.T) {
	paths, seed := number(t, "PGSAFE_TEST_PATHS", 3_000), number(t, "PGSAFE_TEST_SEED", int(time.Now().UnixNano()))
	t.Logf("PGSAFE_TEST_SEED=%d", seed)
	for name, parameters := range map[string]string{
		"of one connection": "pool_max_conns=1&pool_acquire_timeout=1m",
		"of four":           "pool_max_conns=4&pool_acquire_timeout=1m",
		"that has no cap":   "",
	} {
		t.Run("the parts of a transaction are all or none in a pool "+name, func(t *testing.T) {
			m := newModel(t, parameters, uint64(seed))
			var next atomic.Int64
			var wg sync.WaitGroup
			for range 12 {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(paths/3); n = next.Add(1) {
						m.walk(n)
					}
				})
			}
			wg.Wait()
			m.late.Wait()
			m.compare()
		})
	}
}

func number(t *testing.T, variable string, otherwise int) int {
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	check.OK(t, err)
	return n
}

type model struct {
	t        *testing.T
	db       *sql.DB
	stmt     *sql.Stmt
	killer   *pgx.Conn
	killing  sync.Mutex
	seed     uint64
	late     sync.WaitGroup // goroutines that were left to themselves
	outcomes sync.Map       // of each transaction, by its number: an outcome
}

// outcome is how a transaction ended.
type outcome struct {
	parts int
	err   error
}

func newModel(t *testing.T, parameters string, seed uint64) *model {
	uri := pgtest.Shared(t).Database(t)
	m := &model{t: t, db: openAt(t, with(uri, parameters), pgsafe.WithLogger(quiet)), seed: seed}
	exec(t, t.Context(), m.db, "CREATE TABLE parts (id bigint, part int)")
	var err error
	m.stmt, err = m.db.Prepare("INSERT INTO parts VALUES ($1, $2)")
	check.OK(t, err)
	t.Cleanup(func() { _ = m.stmt.Close() })
	m.killer = pgtest.Shared(t).AdminIn(t, databaseOf(t, uri))
	return m
}

// compare compares the ledger with the outcomes.
func (m *model) compare() {
	allBack(m.t, m.db)
	rows := query(m.t, m.t.Context(), m.db, "SELECT id, count(*), count(DISTINCT part) FROM parts GROUP BY id")
	defer rows.Close()
	found := map[int64]int{}
	for rows.Next() {
		var id int64
		var n, distinct int
		check.OK(m.t, rows.Scan(&id, &n, &distinct))
		if n != distinct {
			m.t.Errorf("transaction %d has a part twice", id)
		}
		found[id] = n
	}
	check.OK(m.t, rows.Err())
	committed, failed, unknown := 0, 0, 0
	m.outcomes.Range(func(id, v any) bool {
		o, n := v.(outcome), found[id.(int64)]
		switch {
		case o.err == nil:
			committed++
			if n != o.parts {
				m.t.Errorf("transaction %d succeeded and has %d of %d parts", id, n, o.parts)
			}
		case errors.Is(o.err, session.ErrCommitUnknown):
			unknown++
			if n != 0 && n != o.parts {
				m.t.Errorf("transaction %d has %d of %d parts", id, n, o.parts)
			}
		default:
			failed++
			if n != 0 {
				m.t.Errorf("transaction %d failed with %v and has %d of %d parts", id, o.err, n, o.parts)
			}
		}
		delete(found, id.(int64))
		return true
	})
	check.Equal(m.t, len(found), 0)
	check.Equal(m.t, one[int](m.t, m.t.Context(), m.db,
		"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"), 0)
	m.t.Logf("%d transactions were committed, %d failed, %d have an unknown outcome", committed, failed, unknown)
	check.Equal(m.t, committed > 0 && failed > 0, true)
}

// errAborted is the outcome of a function that panicked or called runtime.Goexit.
var errAborted = errors.New("the function was aborted")

// walk goes one way: a transaction, in a session or not. It is a goroutine of its own, since some ways
// end that.
func (m *model) walk(id int64) {
	w := &way{model: m, id: id, random: rand.New(rand.NewPCG(m.seed, uint64(id)))}
	parts := 1 + w.random.IntN(8)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := errAborted
		defer func() {
			_ = recover()
			m.outcomes.Store(id, outcome{parts, err})
		}()
		ctx, cancel := context.WithCancel(m.t.Context())
		defer cancel()
		w.cancel = cancel
		transact := func(ctx context.Context) error {
			return session.Tx(ctx, m.db, nil, func(ctx context.Context) error { return w.inside(ctx, parts) })
		}
		if w.random.IntN(2) == 0 {
			err = transact(ctx)
			return
		}
		err = session.Do(ctx, m.db, func(ctx context.Context) error {
			if w.random.IntN(3) == 0 {
				if _, err := m.db.ExecContext(ctx, "SET application_name = 'state'"); err != nil {
					return err
				}
			}
			return transact(ctx)
		})
	}()
	<-done
}

type way struct {
	*model
	id     int64
	cancel context.CancelFunc
	mu     sync.Mutex // guards random
	random *rand.Rand
}

func (w *way) choose(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

var errWay = errors.New("the way's end")

// inside writes the parts, and ends in one of the ways that there are.
func (w *way) inside(ctx context.Context, parts int) error {
	if w.choose(10) == 0 {
		w.late.Go(func() { // goes on after the end, and must not write
			for part := 100; part < 110; part++ {
				if _, err := w.db.ExecContext(context.WithoutCancel(ctx), "INSERT INTO parts SELECT $1, $2 WHERE false", w.id, part); err != nil {
					return
				}
			}
		})
	}
	var wg sync.WaitGroup
	errs := make([]error, parts)
	for i := range parts {
		write := func() { errs[i] = w.write(ctx, i, 0) }
		if w.choose(2) == 0 {
			wg.Go(write)
		} else {
			write()
		}
		w.disturb(ctx)
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	switch w.choose(24) {
	case 0, 1:
		return errWay
	case 2:
		panic("way")
	case 3:
		runtime.Goexit()
	case 4: // an error that is dropped
		_, _ = w.db.ExecContext(ctx, "SELECT 1/0")
	case 5: // rows that are left open
		_, _ = w.db.QueryContext(ctx, "SELECT generate_series(1, 1000)")
	case 6: // a transaction that is left open
		_, _ = w.db.BeginTx(ctx, nil)
	case 7: // a goroutine that is left, with a savepoint
		w.late.Go(func() {
			_ = session.Tx(ctx, w.db, nil, func(ctx context.Context) error {
				_, err := w.db.ExecContext(ctx, "SELECT pg_sleep(0.001)")
				return err
			})
		})
	}
	return nil
}

// disturb cancels or kills the transaction, seldom.
func (w *way) disturb(ctx context.Context) {
	switch w.choose(120) {
	case 0:
		w.cancel()
	case 1:
		var pid int
		if w.db.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&pid) == nil {
			w.late.Go(func() {
				w.killing.Lock()
				defer w.killing.Unlock()
				_, err := w.killer.Exec(context.Background(), "SELECT pg_terminate_backend($1)", pid)
				check.OK(w.t, err)
			})
		}
	case 2:
		w.late.Go(w.cancel) // at some time
	}
}

// write writes one part, in one of several ways.
func (w *way) write(ctx context.Context, part, depth int) error {
	const text = "INSERT INTO parts VALUES ($1, $2)"
	switch w.choose(9) {
	case 0:
		_, err := w.stmt.ExecContext(ctx, w.id, part)
		return err
	case 1:
		return w.db.QueryRowContext(ctx, text+" RETURNING part", w.id, part).Scan(new(int))
	case 2: // while rows are read
		rows, err := w.db.QueryContext(ctx, "SELECT g FROM generate_series(1, 100) g")
		if err != nil {
			return err
		}
		defer rows.Close()
		for i := 0; rows.Next(); i++ {
			if i == 3 {
				if _, err := w.db.ExecContext(ctx, text, w.id, part); err != nil {
					return err
				}
			}
		}
		return rows.Err()
	case 3: // in a savepoint, at the second try
		if depth > 2 {
			break
		}
		first := session.Tx(ctx, w.db, nil, func(ctx context.Context) error {
			if err := w.write(ctx, part, depth+1); err != nil {
				return err
			}
			return errWay
		})
		if !errors.Is(first, errWay) {
			return fmt.Errorf("first try: %w", first)
		}
		return session.Tx(ctx, w.db, nil, func(ctx context.Context) error { return w.write(ctx, part, depth+1) })
	case 4: // in a savepoint of database/sql, whose first try is rolled back
		for _, last := range []bool{false, true} {
			inner, err := w.db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := inner.ExecContext(ctx, text, w.id, part); err != nil {
				_ = inner.Rollback() // the outer one is over
				return err
			}
			if last {
				return inner.Commit()
			}
			if err := inner.Rollback(); err != nil {
				return err
			}
		}
	case 5: // on a *sql.Conn
		c, err := w.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.ExecContext(ctx, text, w.id, part)
		return err
	case 6: // by COPY
		c, err := w.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		return pgsafe.Raw(c, func(pc *pgx.Conn) error {
			_, err := pc.CopyFrom(ctx, pgx.Identifier{"parts"}, []string{"id", "part"}, pgx.CopyFromRows([][]any{{w.id, part}}))
			return err
		})
	}
	_, err := w.db.ExecContext(ctx, text, w.id, part)
	return err
}
