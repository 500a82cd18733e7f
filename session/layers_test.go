package session_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// layered is what layers around a driver.Conn pass on. Those that hide IsValid or ResetSession hide
// where one use of a handle ends.
type layered interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
}

type hidesIsValid struct {
	layered
	driver.SessionResetter
}

type hidesResetSession struct {
	layered
	driver.Validator
}

type hidesBoth struct{ layered }

var layers = map[string]func(c *pgsafe.Conn) driver.Conn{
	"that hides IsValid":      func(c *pgsafe.Conn) driver.Conn { return hidesIsValid{c, c} },
	"that hides ResetSession": func(c *pgsafe.Conn) driver.Conn { return hidesResetSession{c, c} },
	"that hides both":         func(c *pgsafe.Conn) driver.Conn { return hidesBoth{c} },
}

// layer is the connector of a layer.
type layer struct {
	*pgsafe.Connector
	wrap func(c *pgsafe.Conn) driver.Conn
}

func (l layer) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := l.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return l.wrap(c.(*pgsafe.Conn)), nil
}

func (l layer) Driver() driver.Driver { return layerDriver{} }

func (l layer) Close() error { return io.Closer(l.Connector).Close() }

type layerDriver struct{}

func (layerDriver) Open(string) (driver.Conn, error) { return nil, errors.New("it is not opened so") }

func TestLayers(t *testing.T) {
	for name, wrap := range layers {
		open := func(t *testing.T) (*sql.DB, *pgsafe.Connector) {
			t.Helper()
			c, err := pgsafe.NewConnector(pgtest.Shared(t).Database(t))
			check.OK(t, err)
			db := sql.OpenDB(layer{c, wrap})
			t.Cleanup(func() { check.OK(t, db.Close()) })
			exec(t, t.Context(), db, "CREATE TABLE ledger (entry text)")
			return db, c
		}
		back := func(t *testing.T, c *pgsafe.Connector) {
			t.Helper()
			pgtest.Eventually(t, "every connection is back", func() bool { return c.Stats().InUse == 0 })
		}
		const insert = "INSERT INTO ledger VALUES ($1) RETURNING entry"
		ways := map[string]func(t *testing.T, ctx context.Context, db *sql.DB){
			"a statement": func(t *testing.T, ctx context.Context, db *sql.DB) { enter(t, ctx, db, "in") },
			"rows": func(t *testing.T, ctx context.Context, db *sql.DB) {
				rows := query(t, ctx, db, insert, "in")
				check.Equal(t, rows.Next(), true)
				enter(t, ctx, db, "in too")
				check.OK(t, rows.Close())
			},
			"rows that are left open": func(t *testing.T, ctx context.Context, db *sql.DB) { _ = query(t, ctx, db, insert, "in") },
			"one row":                 func(t *testing.T, ctx context.Context, db *sql.DB) { one[string](t, ctx, db, insert, "in") },
			"a statement prepared inside": func(t *testing.T, ctx context.Context, db *sql.DB) {
				stmt, err := db.PrepareContext(ctx, insert)
				check.OK(t, err)
				defer stmt.Close()
				check.OK(t, stmt.QueryRowContext(ctx, "in").Scan(new(string)))
				_, err = stmt.ExecContext(ctx, "in")
				check.OK(t, err)
			},
			"a *sql.Tx": func(t *testing.T, ctx context.Context, db *sql.DB) {
				inner, err := db.BeginTx(ctx, nil)
				check.OK(t, err)
				enter(t, ctx, inner, "in")
				rows := query(t, ctx, inner, insert, "in")
				check.OK(t, rows.Close())
				enter(t, ctx, inner, "in")
				check.OK(t, inner.Commit())
			},
			"a *sql.Conn": func(t *testing.T, ctx context.Context, db *sql.DB) {
				c := conn(t, ctx, db)
				defer c.Close()
				enter(t, ctx, c, "in")
				enter(t, ctx, c, "in")
			},
		}
		for way, write := range ways {
			t.Run(way+" behind a layer "+name+" is in the transaction, and the next uses of its handle are not", func(t *testing.T) {
				db, c := open(t)
				before, err := db.Prepare("INSERT INTO ledger VALUES ($1)")
				check.OK(t, err)
				defer before.Close()
				for range 3 {
					err := session.TxOn(t.Context(), c, nil, func(ctx context.Context) error {
						write(t, ctx, db)
						_, err := before.ExecContext(ctx, "in")
						check.OK(t, err)
						_, err = before.ExecContext(t.Context(), "out") // while the transaction is open, on its handle
						check.OK(t, err)
						enter(t, t.Context(), db, "out")
						check.Equal(t, one[bool](t, ctx, db, "SELECT exists(SELECT FROM ledger WHERE entry LIKE 'in%')"), true)
						return errApp
					})
					isError(t, err, errApp)
					_, err = before.ExecContext(t.Context(), "out")
					check.OK(t, err)
					check.Equal(t, entries(t, db), "out out out")
					back(t, c)
					exec(t, t.Context(), db, "TRUNCATE ledger")
				}
			})
		}
		t.Run("a session behind a layer "+name+" has its state for itself", func(t *testing.T) {
			db, c := open(t)
			for range 3 {
				check.OK(t, session.DoOn(t.Context(), c, func(ctx context.Context) error {
					exec(t, ctx, db, "SET application_name = 'mine'")
					check.Equal(t, one[string](t, t.Context(), db, "SHOW application_name") != "mine", true)
					check.Equal(t, one[string](t, ctx, db, "SHOW application_name"), "mine")
					return session.TxOn(ctx, c, nil, func(ctx context.Context) error {
						check.Equal(t, one[string](t, ctx, db, "SHOW application_name"), "mine")
						return nil
					})
				}))
				back(t, c)
				check.Equal(t, one[string](t, t.Context(), db, "SHOW application_name") != "mine", true)
			}
		})
		t.Run("a request behind a layer "+name+" has a session", func(t *testing.T) {
			db, c := open(t)
			h := session.MiddlewareOn(c)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				exec(t, r.Context(), db, "SET application_name = 'mine'")
				check.Equal(t, one[string](t, r.Context(), db, "SHOW application_name"), "mine")
			}))
			for range 3 {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
				back(t, c)
				check.Equal(t, one[string](t, t.Context(), db, "SHOW application_name") != "mine", true)
			}
		})
		t.Run("transactions and plain statements of many goroutines behind a layer "+name+" do not mix", func(t *testing.T) {
			db, c := open(t)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 20 {
						_ = session.TxOn(t.Context(), c, nil, func(ctx context.Context) error {
							enter(t, ctx, db, "in")
							rows := query(t, ctx, db, insert, "in")
							enter(t, ctx, db, "in")
							check.OK(t, rows.Close())
							return errApp
						})
						enter(t, t.Context(), db, "out")
					}
				})
			}
			wg.Wait()
			check.Equal(t, one[int](t, t.Context(), db, "SELECT count(*) FROM ledger"), 160)
			check.Equal(t, one[int](t, t.Context(), db, "SELECT count(*) FROM ledger WHERE entry = 'out'"), 160)
			back(t, c)
		})
		t.Run("Do and Tx refuse a database behind a layer "+name, func(t *testing.T) {
			db, _ := open(t)
			isError(t, session.Do(t.Context(), db, func(context.Context) error { return nil }), session.ErrForeign)
			isError(t, session.Tx(t.Context(), db, nil, func(context.Context) error { return nil }), session.ErrForeign)
		})
	}
}
