package pgsafe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/ctxrows"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// TestWatchedRows is what a ctxrows.Watcher can rely on.
func TestWatchedRows(t *testing.T) {
	errEnd := errors.New("it has ended")
	db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
	query := func(t *testing.T, w *rowsWatcher, text string, read func(rows driver.Rows, err error)) {
		t.Helper()
		conn, err := db.Conn(t.Context())
		must(t, err)
		must(t, conn.Raw(func(driverConn any) error {
			w.Context = t.Context()
			read(driverConn.(driver.QueryerContext).QueryContext(w, text, nil))
			return nil
		}))
		must(t, conn.Close())
	}
	t.Run("it is told when its query runs, has rows, and is over", func(t *testing.T) {
		w := &rowsWatcher{}
		query(t, w, "SELECT 1", func(rows driver.Rows, err error) {
			must(t, err)
			equal(t, w.heard("running", "opened"), true)
			must(t, rows.Close())
			equal(t, w.heard("running", "opened", "over"), true)
		})
	})
	t.Run("a query that fails is over, and had no rows", func(t *testing.T) {
		w := &rowsWatcher{}
		query(t, w, "SELECT 1 / 0", func(_ driver.Rows, err error) {
			equal(t, pgsafe.SQLState(err), "22012")
			equal(t, w.heard("running", "over"), true)
		})
	})
	t.Run("one that it does not let run is not sent", func(t *testing.T) {
		w := &rowsWatcher{refuses: errEnd}
		query(t, w, "CREATE TABLE sent ()", func(_ driver.Rows, err error) {
			equal(t, errors.Is(err, errEnd), true)
			equal(t, w.heard("running"), true)
		})
		var there bool
		must(t, db.QueryRowContext(t.Context(), "SELECT to_regclass('sent') IS NOT NULL").Scan(&there))
		equal(t, there, false)
	})
	t.Run("rows that it closes early have its error, and those that were all read have none", func(t *testing.T) {
		for read, want := range map[int]error{0: errEnd, 1: errEnd, 2: nil} {
			w := &rowsWatcher{}
			query(t, w, "SELECT 1", func(rows driver.Rows, err error) {
				must(t, err)
				dest := make([]driver.Value, 1)
				for range read {
					if err := rows.Next(dest); err != nil && err != io.EOF {
						t.Fatal(err)
					}
				}
				w.ended = errEnd
				if err := rows.Close(); !errors.Is(err, want) {
					t.Errorf("after %d times Next, Close says %v, and should %v", read, err, want)
				}
			})
		}
	})
	t.Run("what it cancels is cancelled on the server, and keeps its connection", func(t *testing.T) {
		before := statsOf(t, db).Opened
		w := &rowsWatcher{}
		query(t, w, staysOpen, func(rows driver.Rows, err error) {
			must(t, err)
			w.canceler.HandleCancel(t.Context())
			equal(t, pgsafe.SQLState(lastOf(rows)), "57014")
			w.ended = errEnd
			equal(t, errors.Is(rows.Close(), errEnd), true)
			w.canceler.HandleUnwatchAfterCancel()
		})
		exec(t, db, "SELECT 1")
		equal(t, statsOf(t, db).Opened, before)
	})
	t.Run("a query that it cancels while it is being prepared is not sent, and keeps its connection", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &rowsWatcher{Context: ctx}
		c, err := pgsafe.NewConnector(pgtest.Shared(t).Database(t), pgsafe.WithBeforeConnect(func(_ context.Context, cc *pgx.ConnConfig) error {
			cc.Tracer = prepared(func(text string) {
				if strings.Contains(text, "nextval") {
					cancel()
					w.canceler.HandleCancel(ctx)
				}
			})
			return nil
		}))
		must(t, err)
		db := sql.OpenDB(c)
		t.Cleanup(func() { must(t, db.Close()) })
		exec(t, db, "CREATE SEQUENCE calls")
		conn, err := db.Conn(t.Context())
		must(t, err)
		must(t, conn.Raw(func(driverConn any) error {
			_, err := driverConn.(driver.QueryerContext).QueryContext(w, "SELECT nextval('calls')", nil)
			equal(t, errors.Is(err, context.Canceled), true)
			equal(t, w.heard("running", "over"), true)
			w.canceler.HandleUnwatchAfterCancel()
			return nil
		}))
		must(t, conn.Close())
		var called bool
		must(t, db.QueryRowContext(t.Context(), "SELECT is_called FROM calls").Scan(&called))
		equal(t, called, false)
		equal(t, c.Stats().Opened, 1)
	})
	t.Run("where pgx cancels there is nothing for it to cancel with", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pgsafe_cancel_timeout=0"))
		conn, err := db.Conn(t.Context())
		must(t, err)
		must(t, conn.Raw(func(driverConn any) error {
			w := &rowsWatcher{Context: t.Context()}
			rows, err := driverConn.(driver.QueryerContext).QueryContext(w, "SELECT 1", nil)
			must(t, err)
			must(t, rows.Close())
			equal(t, w.heard("opened", "over"), true)
			return nil
		}))
		must(t, conn.Close())
	})
}

// prepared is a tracer that is told of texts that have been prepared.
type prepared func(text string)

func (p prepared) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (p prepared) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (p prepared) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	return context.WithValue(ctx, preparedKey{}, data.SQL)
}

func (p prepared) TracePrepareEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TracePrepareEndData) {
	text, _ := ctx.Value(preparedKey{}).(string)
	p(text)
}

type preparedKey struct{}

// rowsWatcher remembers what it was told.
type rowsWatcher struct {
	context.Context
	told           []string
	canceler       ctxrows.Canceler
	refuses, ended error
}

var _ ctxrows.Watcher = (*rowsWatcher)(nil)

func (w *rowsWatcher) Query() context.Context { return w.Context }
func (w *rowsWatcher) Running(c ctxrows.Canceler) error {
	w.told, w.canceler = append(w.told, "running"), c
	return w.refuses
}
func (w *rowsWatcher) Opened()      { w.told = append(w.told, "opened") }
func (w *rowsWatcher) Ended() error { return w.ended }
func (w *rowsWatcher) Over()        { w.told = append(w.told, "over") }

func (w *rowsWatcher) heard(all ...string) bool { return slices.Equal(w.told, all) }
