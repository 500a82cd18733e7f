package faults_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

const (
	workers  = 20
	deadline = 2 * time.Second // of a statement
)

// load is an application at work.
type load struct {
	db    *sql.DB
	stop  context.CancelFunc
	wg    sync.WaitGroup
	good  atomic.Int64
	ended atomic.Int64 // when the fault ended, in Unix nanoseconds
	first atomic.Int64 // how long after that a statement succeeded that had begun since

	mu     sync.Mutex
	failed map[string]int
}

// start lets the workers run statements through db.
func start(t *testing.T, db *sql.DB, statement string) *load {
	t.Helper()
	db.SetMaxIdleConns(workers)
	ctx, stop := context.WithCancel(t.Context())
	l := &load{db: db, stop: stop, failed: map[string]int{}}
	for i := range workers {
		l.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.run(ctx, statement, i, n)
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

func (l *load) run(ctx context.Context, statement string, args ...any) {
	began := time.Now().UnixNano()
	within, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	_, err := l.db.ExecContext(within, statement, args...)
	if ctx.Err() != nil {
		return
	}
	l.note(err)
	if ended := l.ended.Load(); err == nil && ended > 0 && began >= ended {
		l.first.CompareAndSwap(0, time.Now().UnixNano()-ended)
	}
}

// note counts how a statement ended.
func (l *load) note(err error) {
	if err == nil {
		l.good.Add(1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed[strings.TrimSpace(pgsafe.KindOf(err).String()+" "+pgsafe.SQLState(err))]++
}

// more waits until n more statements have succeeded.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	from := l.good.Load()
	pgtest.Eventually(t, "statements succeed", func() bool { return l.good.Load() >= from+n })
}

// over says that the fault has ended, and waits until the application works again.
func (l *load) over(t *testing.T) {
	t.Helper()
	l.first.Store(0)
	l.ended.Store(time.Now().UnixNano())
	pgtest.Eventually(t, "a statement succeeds again", func() bool { return l.first.Load() > 0 })
	l.more(t, 100)
}

// end stops the workers, and returns what they saw.
func (l *load) end() outcome {
	l.stop()
	l.wg.Wait()
	return outcome{good: l.good.Load(), failed: l.failed, first: time.Duration(l.first.Load())}
}
