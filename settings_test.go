package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

const showTenant = "select coalesce(current_setting('app.tenant', true), '')"

// tenant returns a context with a setting.
func tenant(ctx context.Context, value string) context.Context {
	return session.WithSettings(ctx, map[string]string{"app.tenant": value})
}

// querier is a *sql.DB, a *sql.Conn or a *sql.Tx.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// tenantOf returns the setting that a statement sees in ctx.
func tenantOf(t testing.TB, ctx context.Context, q querier) string {
	t.Helper()
	var got string
	check.OK(t, q.QueryRowContext(ctx, showTenant).Scan(&got))
	return got
}

// behindProxy opens a database through a proxy that counts round trips.
func behindProxy(t *testing.T, params ...string) (*sql.DB, *pgtest.Proxy) {
	t.Helper()
	proxy := pgtest.NewProxy(t, pgtest.Shared(t))
	return open(t, pgsafe.DriverName, with(proxy.URI("postgres"), params...)), proxy
}

func TestSettingsFollowTheContext(t *testing.T) {
	t.Run("every kind of statement runs with the settings of its context", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		exec(t, db, "create table seen (tenant text)")
		const insert = "insert into seen select current_setting('app.tenant')"
		stmt, err := db.PrepareContext(t.Context(), insert)
		check.OK(t, err)
		defer stmt.Close()
		for i, run := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := db.ExecContext(ctx, insert); return err },
			func(ctx context.Context) error {
				return db.QueryRowContext(ctx, insert+" returning tenant").Scan(new(string))
			},
			func(ctx context.Context) error { _, err := stmt.ExecContext(ctx); return err },
			func(ctx context.Context) error {
				rows, err := stmt.QueryContext(ctx)
				if err == nil {
					err = rows.Close()
				}
				return err
			},
			func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				_, err = tx.ExecContext(context.WithoutCancel(t.Context()), insert)
				return errors.Join(err, tx.Commit())
			},
		} {
			check.OK(t, run(tenant(t.Context(), fmt.Sprint(i))))
			check.Equal(t, tenantOf(t, t.Context(), db), "")
		}
		check.Equal(t, one[string](t, db, "select string_agg(tenant, ',' order by tenant) from seen"), "0,1,2,3,4")
	})
	t.Run("settings cost no round trip, whether they change or stay", func(t *testing.T) {
		t.Parallel()
		db, proxy := behindProxy(t, "default_query_exec_mode=exec")
		db.SetMaxOpenConns(1)
		trips := func(ctx context.Context) int64 {
			proxy.Reset()
			tenantOf(t, ctx, db)
			return proxy.RoundTrips()
		}
		exec(t, db, "select 1") // the first connection asks for the process id
		check.Equal(t, trips(t.Context()), 1)
		check.Equal(t, trips(tenant(t.Context(), "1")), 1)
		check.Equal(t, trips(tenant(t.Context(), "1")), 1)
		check.Equal(t, trips(tenant(t.Context(), "2")), 1)
		both := session.WithSettings(tenant(t.Context(), "3"), map[string]string{"app.b": "b"})
		check.Equal(t, trips(session.WithRole(both, "pg_monitor")), 1)
		check.Equal(t, trips(t.Context()), 1)
	})
	t.Run("a setting that the context no longer names is as on a new connection", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "statement_timeout=7777"))
		db.SetMaxOpenConns(1)
		user := one[string](t, db, "select current_user")
		ctx := session.WithSettings(t.Context(), map[string]string{
			"statement_timeout": "5s", "search_path": "pg_catalog",
		})
		var timeout, path, role string
		const show = "select current_setting('statement_timeout'), current_setting('search_path'), current_user"
		see := func(ctx context.Context) string {
			check.OK(t, db.QueryRowContext(ctx, show).Scan(&timeout, &path, &role))
			return timeout + " " + path + " " + role
		}
		before := see(t.Context())
		check.Equal(t, see(session.WithRole(ctx, "pg_monitor")), "5s pg_catalog pg_monitor")
		check.Equal(t, see(ctx), "5s pg_catalog "+user)
		check.Equal(t, see(session.WithRole(t.Context(), "pg_monitor")), strings.Replace(before, user, "pg_monitor", 1))
		check.Equal(t, see(t.Context()), before)
	})
	t.Run("settings of WithAfterConnect come back when the context no longer overrides them", func(t *testing.T) {
		t.Parallel()
		after := func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `set application_name = 'it''s \ me';
				set statement_timeout = '1500ms'; set role pg_monitor`)
			return err
		}
		db, err := pgsafe.Open(pgtest.Shared(t).Database(t), pgsafe.WithAfterConnect(after))
		check.OK(t, err)
		defer db.Close()
		db.SetMaxOpenConns(1)
		show := "select current_setting('statement_timeout') || current_user || current_setting('application_name')"
		const want = `1500mspg_monitorit's \ me`
		check.Equal(t, one[string](t, db, show), want)
		ctx := session.WithSettings(t.Context(), map[string]string{"statement_timeout": "1s", "application_name": "1"})
		ctx = session.WithRole(ctx, "pg_read_all_data")
		var got string
		check.OK(t, db.QueryRowContext(ctx, show).Scan(&got))
		check.Equal(t, got, "1spg_read_all_data1")
		check.Equal(t, one[string](t, db, show), want)
		exec(t, db, "set application_name = 'by hand'; set statement_timeout = 0; set role none")
		check.Equal(t, one[string](t, db, show), want)
	})
	t.Run("a sql.Conn and a transaction keep settings for statements whose context has none", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(tenant(t.Context(), "held"))
		check.OK(t, err)
		check.Equal(t, tenantOf(t, t.Context(), conn), "held")
		check.Equal(t, tenantOf(t, tenant(t.Context(), "other"), conn), "other")
		check.Equal(t, tenantOf(t, t.Context(), conn), "other")
		tx, err := conn.BeginTx(tenant(t.Context(), "tx"), nil)
		check.OK(t, err)
		check.Equal(t, tenantOf(t, t.Context(), tx), "tx")
		check.OK(t, tx.Rollback())
		check.Equal(t, tenantOf(t, t.Context(), conn), "tx")
		check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error {
			var got string
			check.OK(t, c.QueryRow(t.Context(), showTenant).Scan(&got))
			check.Equal(t, got, "tx")
			return nil
		}))
		check.OK(t, conn.Close())
		check.Equal(t, tenantOf(t, t.Context(), db), "")
	})
	t.Run("native code runs with the settings of db.Conn's context", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		see := func(ctx context.Context) (got string) {
			raw(t, ctx, db, func(c *pgx.Conn) error { return c.QueryRow(t.Context(), showTenant).Scan(&got) })
			return got
		}
		check.Equal(t, see(tenant(t.Context(), "a")), "a")
		check.Equal(t, see(t.Context()), "")
	})
	t.Run("open rows keep a sql.Conn from changing settings", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		rows, err := conn.QueryContext(tenant(t.Context(), "a"), "select generate_series(1, 3)")
		check.OK(t, err)
		_, err = conn.ExecContext(tenant(t.Context(), "b"), "select 1")
		if err == nil || !strings.Contains(err.Error(), "rows of an earlier query") {
			t.Errorf("got %v", err)
		}
		check.OK(t, rows.Close())
		check.Equal(t, tenantOf(t, tenant(t.Context(), "b"), conn), "b")
	})
	t.Run("a SET of a context's setting holds until the next statement outside a transaction", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		ctx := tenant(t.Context(), "a")
		_, err = conn.ExecContext(ctx, "set app.tenant = 'by hand'")
		check.OK(t, err)
		check.Equal(t, tenantOf(t, ctx, conn), "a")
		tx, err := conn.BeginTx(ctx, nil)
		check.OK(t, err)
		defer tx.Rollback()
		_, err = tx.ExecContext(ctx, "set app.tenant = 'by hand'")
		check.OK(t, err)
		check.Equal(t, tenantOf(t, ctx, tx), "by hand") // the transaction changed it itself
	})
}

func TestSettingsThatAreNotApplied(t *testing.T) {
	t.Run("a transaction refuses other settings and goes on", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		exec(t, db, "create table t (n int)")
		withRole := session.WithRole(tenant(t.Context(), "a"), "pg_monitor")
		for what, c := range map[string]struct{ begun, then context.Context }{
			"begun with others":     {tenant(t.Context(), "a"), tenant(t.Context(), "b")},
			"begun without":         {t.Context(), tenant(t.Context(), "b")},
			"begun with fewer":      {tenant(t.Context(), "a"), withRole},
			"begun with, none then": {tenant(t.Context(), "a"), session.WithSettings(t.Context(), nil)},
		} {
			tx, err := db.BeginTx(c.begun, nil)
			check.OK(t, err)
			_, err = tx.ExecContext(c.then, "insert into t values (1)")
			if !errors.Is(err, session.ErrSettings) || !strings.Contains(fmt.Sprint(err), "transaction") {
				t.Errorf("%s: got %v", what, err)
			}
			_, err = tx.PrepareContext(c.then, "insert into t values (2)")
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			_, err = tx.ExecContext(c.begun, "insert into t values (3)")
			check.OK(t, err)
			check.OK(t, tx.Commit())
		}
		check.Equal(t, one[string](t, db, "select string_agg(distinct n::text, '') from t"), "3")
	})
	t.Run("a statement does not run if its settings are refused, and the error shows no value", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		db.SetMaxOpenConns(1)
		exec(t, db, "create table t (n int)")
		check.Equal(t, tenantOf(t, tenant(t.Context(), "before"), db), "before")
		for _, c := range []struct{ name, value, state, text string }{
			{"statement_timeout", "s3cret", "22023", `"statement_timeout"`},
			{"max_connections", "s3cret1", "55P02", `"max_connections"`},
			{"app.no such name", "s3cret", "42602", `"app.no such name"`},
			{"nosuchname", "s3cret", "42704", `"nosuchname"`},
			{"", "", "22023", `the role "unknown_s"`},
		} {
			ctx := tenant(t.Context(), "after")
			if c.name != "" {
				ctx = session.WithSettings(ctx, map[string]string{c.name: c.value})
			} else {
				ctx = session.WithRole(ctx, "unknown_s")
			}
			_, err := db.ExecContext(ctx, "insert into t values (1)")
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			check.Equal(t, pgsafe.SQLState(err), c.state)
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
			var all strings.Builder
			for _, e := range append(unwrapped(err), err) {
				fmt.Fprintf(&all, "%v %+v %#v\n", e, e, e)
			}
			if text := fmt.Sprint(err); !strings.Contains(text, c.text) || strings.Contains(all.String(), "s3cret") {
				t.Errorf("the error is %s, and has %s", text, all.String())
			}
			check.Equal(t, tenantOf(t, t.Context(), db), "") // either all settings apply or none
		}
		check.Equal(t, one[int](t, db, "select count(*)::int from t"), 0)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("invalid names and values are refused before anything is sent", func(t *testing.T) {
		t.Parallel()
		db, proxy := behindProxy(t)
		check.OK(t, db.PingContext(t.Context()))
		proxy.Reset()
		for _, ctx := range []context.Context{tenant(t.Context(), "\x00"), session.WithRole(t.Context(), ""),
			session.WithSettings(t.Context(), map[string]string{"role": "x"})} {
			_, err := db.ExecContext(ctx, "select 1")
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			_, err = db.BeginTx(ctx, nil)
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
		}
		check.Equal(t, proxy.RoundTrips(), 0)
	})
	t.Run("a context that ends while settings are applied leaves the connection unchanged", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		db.SetMaxOpenConns(1)
		w, locker := watch(t, uri), watch(t, uri) // a transaction sees a frozen pg_stat_activity
		exec(t, db, "select 1")
		// The server looks this setting up in a locked catalog (check_default_text_search_config in
		// ts_cache.c).
		check.OK(t, locker.exec("begin; lock table pg_ts_config in access exclusive mode"))
		ctx := session.WithSettings(tenant(whenItRuns(t, w, context.Canceled), "a"),
			map[string]string{"default_text_search_config": "danish"})
		_, err := db.ExecContext(ctx, "select 1")
		check.Equal(t, errors.Is(err, context.Canceled), true)
		check.OK(t, locker.exec("rollback"))
		check.Equal(t, one[string](t, db, "show default_text_search_config"), "pg_catalog.english")
		check.Equal(t, tenantOf(t, t.Context(), db), "")
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a backend killed before settings are applied is replaced without an error", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		w := watch(t, uri)
		for i := range 5 {
			check.Equal(t, tenantOf(t, tenant(t.Context(), fmt.Sprint(i)), db), fmt.Sprint(i))
			w.terminate()
		}
	})
	t.Run("the error names a refused setting that the server writes with capitals", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		_, err := db.ExecContext(session.WithSettings(t.Context(), map[string]string{"timezone": "nowhere"}), "select 1")
		check.Equal(t, strings.Contains(fmt.Sprint(err), `refuses "timezone"`), true)
	})
	t.Run("a batch and a COPY in a context with settings are refused with pgsafe_conn=native", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pgsafe_conn=native"))
		exec(t, db, "create table written (n int)")
		ctx := tenant(t.Context(), "1")
		for _, write := range []func(*pgx.Conn) error{
			func(c *pgx.Conn) error {
				batch := &pgx.Batch{}
				batch.Queue("insert into written values (1)")
				return c.SendBatch(ctx, batch).Close()
			},
			func(c *pgx.Conn) error {
				_, err := c.CopyFrom(ctx, pgx.Identifier{"written"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}}))
				return err
			},
		} {
			conn, err := db.Conn(t.Context())
			check.OK(t, err)
			err = pgsafe.Raw(conn, write)
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			check.OK(t, conn.Close())
		}
		check.Equal(t, one[int](t, db, "select count(*)::int from written"), 0)
	})
	t.Run("settings are refused with pgsafe_conn=native", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pgsafe_conn=native"))
		exec(t, db, "create table t (n int)")
		ctx := tenant(t.Context(), "a")
		for range 2 { // with an idle connection, and without
			_, err := db.ExecContext(ctx, "insert into t values (1)")
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			_, err = db.Conn(ctx)
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			db.SetMaxIdleConns(-1)
		}
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		_, err = conn.ExecContext(ctx, "insert into t values (1)") // a *sql.Conn can only refuse it
		check.Equal(t, err == nil, false)
		check.Equal(t, one[int](t, db, "select count(*)::int from t"), 0)
	})
}

// unwrapped returns all errors that err wraps.
func unwrapped(err error) []error {
	var next []error
	switch e := err.(type) { //nolint:errorlint // each layer is looked at
	case interface{ Unwrap() error }:
		next = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		next = e.Unwrap()
	}
	for _, e := range next {
		next = append(next, unwrapped(e)...)
	}
	return next
}

func (w *watcher) exec(query string) error {
	_, err := w.conn.Exec(w.t.Context(), query)
	return err
}

// elsewhere is a connection that seems to lead to another address than it does.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func TestSettingsBehindAPooler(t *testing.T) {
	pooler, database := pooled(t, map[string]string{"default_pool_size": "1"})
	db := open(t, pgsafe.DriverName, pooler.URI(database))
	t.Run("a statement behind a pooler has its settings, and the next one has not", func(t *testing.T) {
		exec(t, db, "create table seen (tenant text)")
		stmt, err := db.PrepareContext(tenant(t.Context(), "p"), showTenant)
		check.OK(t, err)
		defer stmt.Close()
		for i := range 3 {
			want := fmt.Sprint(i)
			ctx := tenant(t.Context(), want)
			check.Equal(t, tenantOf(t, ctx, db), want)
			check.Equal(t, tenantOf(t, t.Context(), db), "")
			var got string
			check.OK(t, stmt.QueryRowContext(ctx).Scan(&got))
			check.Equal(t, got, want)
			check.OK(t, stmt.QueryRowContext(t.Context()).Scan(&got))
			check.Equal(t, got, "")
			_, err := db.ExecContext(ctx, "insert into seen values (current_setting('app.tenant'))")
			check.OK(t, err)
			_, err = db.ExecContext(ctx, "insert into seen values (current_setting('app.tenant') || $1)", "x")
			check.OK(t, err)
		}
		const all = "select string_agg(tenant, ',' order by tenant) from seen"
		check.Equal(t, one[string](t, db, all), "0,0x,1,1x,2,2x")
		plain := open(t, "pgx", pooler.URI(database)+"&default_query_exec_mode=exec")
		check.Equal(t, tenantOf(t, t.Context(), plain), "")
	})
	t.Run("many connections behind a pooler see their own settings", func(t *testing.T) {
		inParallel(t, 12, func(worker int) error {
			for i := range 20 {
				ctx, want := t.Context(), ""
				if (worker+i)%3 != 0 {
					want = fmt.Sprint(worker)
					ctx = tenant(ctx, want)
				}
				var got string
				if err := db.QueryRowContext(ctx, showTenant).Scan(&got); err != nil || got != want {
					return fmt.Errorf("a statement sees tenant %q, its context has %q: %w", got, want, err)
				}
			}
			return nil
		})
	})
	t.Run("a statement that cannot have its settings behind a pooler is refused, with the remedy", func(t *testing.T) {
		ctx := tenant(t.Context(), "a")
		for _, text := range []string{"do $$ begin end $$", "select 1; select 2", "create table never (n int)", "begin"} {
			_, err := db.ExecContext(ctx, text)
			if !errors.Is(err, session.ErrSettings) || !strings.Contains(fmt.Sprint(err), "transaction") {
				t.Fatalf("%s: got %v", text, err)
			}
			if text != "begin" {
				exec(t, db, strings.Replace(text, "never", "always", 1)) // it runs without settings
			}
		}
		_, err := db.ExecContext(session.WithSettings(ctx, map[string]string{"default_transaction_read_only": "on"}), "select 1")
		check.Equal(t, errors.Is(err, session.ErrSettings), true)
		_, err = db.BeginTx(session.WithSettings(ctx, map[string]string{"default_transaction_read_only": "on"}), nil)
		check.Equal(t, errors.Is(err, session.ErrSettings), true)
	})
	t.Run("a statement that goes on behind the end of a pooled transaction is refused", func(t *testing.T) {
		for _, begun := range []context.Context{tenant(t.Context(), "a"), t.Context()} {
			for _, text := range []string{"commit and chain", "rollback and chain", "commit; begin", "commit; select 1",
				"select 1; end; start transaction"} {
				tx, err := db.BeginTx(begun, nil)
				check.OK(t, err)
				_, err = tx.ExecContext(begun, text)
				if !errors.Is(err, session.ErrSettings) || !strings.Contains(fmt.Sprint(err), "end with the transaction") {
					t.Errorf("%s: got %v", text, err)
				}
				check.OK(t, tx.Rollback())
			}
			tx, err := db.BeginTx(begun, nil)
			check.OK(t, err)
			_, err = tx.ExecContext(begun, "savepoint s; rollback to s; release s")
			check.OK(t, err)
			check.OK(t, tx.Commit())
		}
	})
	t.Run("pgx's mode that describes each time works with settings behind a pooler", func(t *testing.T) {
		var got string
		ctx := tenant(t.Context(), "m")
		for range 2 {
			check.OK(t, db.QueryRowContext(ctx, showTenant, pgx.QueryExecModeDescribeExec).Scan(&got))
			check.Equal(t, got, "m")
		}
		undescribed := open(t, pgsafe.DriverName, with(pooler.URI(database), "description_cache_capacity=0"))
		check.Equal(t, tenantOf(t, ctx, undescribed), "m")
		err := undescribed.QueryRowContext(ctx, showTenant, pgx.QueryExecModeDescribeExec).Scan(&got)
		check.Equal(t, errors.Is(err, session.ErrSettings), true)
	})
	t.Run("settings of a transaction end with it behind a pooler", func(t *testing.T) {
		for i := range 3 {
			want := fmt.Sprint(i)
			ctx := tenant(t.Context(), want)
			tx, err := db.BeginTx(ctx, nil)
			check.OK(t, err)
			check.Equal(t, tenantOf(t, t.Context(), tx), want)
			check.Equal(t, tenantOf(t, ctx, tx), want)
			_, err = tx.ExecContext(tenant(t.Context(), "other"), "select 1")
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			check.OK(t, tx.Commit())
			check.Equal(t, tenantOf(t, t.Context(), db), "") // on the only server connection
		}
	})
	t.Run("a setting that the server behind a pooler refuses ends the transaction only", func(t *testing.T) {
		ctx := session.WithSettings(t.Context(), map[string]string{"statement_timeout": "s3cret"})
		_, err := db.BeginTx(ctx, nil)
		check.Equal(t, errors.Is(err, session.ErrSettings), true)
		check.Equal(t, strings.Contains(fmt.Sprint(err), "s3cret"), false)
		check.Equal(t, tenantOf(t, t.Context(), db), "")
	})
	t.Run("a pooler that takes a server's place gets no setting for its session", func(t *testing.T) {
		uri := pgtest.Shared(t).URI(database)
		config, err := pgx.ParseConfig(with(uri, "sslmode=disable", "default_query_exec_mode=exec"))
		check.OK(t, err)
		behind, err := pgx.ParseConfig(pooler.URI(database))
		check.OK(t, err)
		var changed atomic.Int32
		dial, moved := config.DialFunc, atomic.Bool{}
		config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dial := dial
			if moved.Load() {
				network, addr = "tcp", net.JoinHostPort(behind.Host, fmt.Sprint(behind.Port))
				dial = withSmallPIDs(dial, &changed)
			}
			conn, err := dial(ctx, network, addr)
			return elsewhere{conn}, err
		}
		c, err := pgsafe.NewConnectorConfig(config)
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		db.SetMaxOpenConns(1)
		raw(t, t.Context(), db, func(c *pgx.Conn) error {
			moved.Store(true)
			return c.Close(t.Context())
		})
		ctx := tenant(t.Context(), "a")
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		check.Equal(t, tenantOf(t, ctx, tx), "a")
		check.OK(t, tx.Commit())
		raw(t, t.Context(), db, func(c *pgx.Conn) error { return c.Close(t.Context()) })
		_, err = db.ExecContext(ctx, "do $$ begin end $$")
		check.Equal(t, errors.Is(err, session.ErrSettings), true)
		check.Equal(t, tenantOf(t, ctx, db), "a")
		check.Equal(t, changed.Load(), 2)
		plain := open(t, "pgx", pooler.URI(database)+"&default_query_exec_mode=exec")
		check.Equal(t, tenantOf(t, t.Context(), plain), "")
		exec(t, plain, "deallocate all")
	})
	t.Run("settings hold for one statement behind a pooler whatever the application's mode is", func(t *testing.T) {
		for _, mode := range []string{"cache_statement", "cache_describe", "exec"} {
			db := open(t, pgsafe.DriverName, with(pooler.URI(database), "default_query_exec_mode="+mode))
			check.Equal(t, tenantOf(t, tenant(t.Context(), "a"), db), "a")
			check.OK(t, db.Close())
			plain := open(t, "pgx", pooler.URI(database)+"&default_query_exec_mode=exec")
			check.Equal(t, tenantOf(t, t.Context(), plain), "")
			exec(t, plain, "deallocate all") // what cache_statement leaves
		}
		db := open(t, pgsafe.DriverName, with(pooler.URI(database), "default_query_exec_mode=simple_protocol"))
		_, err := db.ExecContext(tenant(t.Context(), "a"), "select 1")
		check.Equal(t, errors.Is(err, session.ErrSettings), true)
	})
}
