package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
	"github.com/pgsafe/pgsafe/telemetry"
)

// leftovers are statements with effects in their session. The query look returns a number for the
// effect: 0 on a new connection.
var leftovers = []struct{ kind, statement, look string }{
	{"settings", "set app.tenant = '42'", "select length(coalesce(current_setting('app.tenant', true), ''))"},
	{"settings", "select set_config('statement_timeout', '77s', false)",
		"select (current_setting('statement_timeout') = '77s')::int"},
	{"settings", "set session characteristics as transaction read only",
		"select (current_setting('default_transaction_read_only') = 'on')::int"},
	{"role", "set role pg_monitor", "select (current_user = 'pg_monitor')::int"},
	{"role", "set session authorization pg_monitor", "select (session_user = 'pg_monitor')::int"},
	{"listen", "listen news", "select count(*)::int from pg_listening_channels()"},
	{"temporary", "create temp table scratch as select 1", "select (to_regclass('scratch') is not null)::int"},
	{"temporary", "select 1 into temp scratch", "select (to_regclass('scratch') is not null)::int"},
	{"lock", "select pg_advisory_lock(4711)",
		"select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"},
	{"cursor", "declare leftover cursor with hold for select 1", "select count(*)::int from pg_cursors where is_holdable"},
	{"prepared", "prepare by_hand as select 1", "select count(*)::int from pg_prepared_statements where from_sql"},
	{"deallocated", "deallocate all", "select 0"},
	{"deallocated", "discard all", "select 0"},
}

// ways are how a statement can run, each on the one connection of a database.
var ways = map[string]func(context.Context, *sql.DB, string) error{
	"Exec": func(ctx context.Context, db *sql.DB, query string) error {
		_, err := db.ExecContext(ctx, query)
		return err
	},
	"Query with unread rows": func(ctx context.Context, db *sql.DB, query string) error {
		rows, err := db.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		return rows.Close()
	},
	"a prepared statement": func(ctx context.Context, db *sql.DB, query string) error {
		stmt, err := db.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		defer stmt.Close()
		_, err = stmt.ExecContext(ctx)
		return err
	},
	"a transaction": func(ctx context.Context, db *sql.DB, query string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, query); err != nil {
			_ = tx.Rollback()
			return err
		}
		return tx.Commit()
	},
	"a text of several statements": func(ctx context.Context, db *sql.DB, query string) error {
		_, err := db.ExecContext(ctx, "select 1; "+query+"; select 2")
		return err
	},
}

func TestSessionStateNeverReachesTheNextUser(t *testing.T) {
	for _, left := range leftovers {
		for way, run := range ways {
			inTransaction := way == "a transaction" || way == "a text of several statements"
			if left.statement == "discard all" && inTransaction {
				continue // the server refuses it in a transaction
			}
			name := fmt.Sprintf("the effects of %q run by %s do not reach the next user", left.statement, way)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				reader := sdkmetric.NewManualReader()
				meters := telemetry.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
				db, err := pgsafe.Open(pgtest.Shared(t).Database(t), pgsafe.WithTelemetry(meters))
				check.OK(t, err)
				defer db.Close()
				db.SetMaxOpenConns(1)
				kept, err := db.PrepareContext(t.Context(), "select pg_backend_pid()")
				check.OK(t, err)
				defer kept.Close()
				var before, after int
				check.OK(t, kept.QueryRowContext(t.Context()).Scan(&before))
				for range 2 {
					check.OK(t, run(t.Context(), db, left.statement))
					check.Equal(t, one[int](t, db, left.look), 0)
					check.OK(t, kept.QueryRowContext(t.Context()).Scan(&after))
					check.Equal(t, after, before)
				}
				if n := counted(t, reader, "pgsafe.session.leaked_state", left.kind); n != 2 {
					t.Errorf("it was counted %d times", n)
				}
			})
		}
	}
	t.Run("session state stays while the same caller holds the connection", func(t *testing.T) {
		t.Parallel()
		for _, left := range leftovers {
			if left.look == "select 0" {
				continue
			}
			db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
			conn, err := db.Conn(t.Context())
			check.OK(t, err)
			_, err = conn.ExecContext(t.Context(), left.statement)
			check.OK(t, err)
			_, err = conn.ExecContext(t.Context(), "select 1")
			check.OK(t, err)
			var n int
			check.OK(t, conn.QueryRowContext(t.Context(), left.look).Scan(&n))
			if n == 0 {
				t.Errorf("%s: nothing is left of it", left.statement)
			}
			check.OK(t, conn.Close())
			check.Equal(t, one[int](t, db, left.look), 0)
		}
	})
	t.Run("an advisory lock is freed on release, before the connection's next use", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		exec(t, db, "select pg_advisory_lock(1)")
		// It waits for as long as it takes.
		check.OK(t, watch(t, uri).exec("select pg_advisory_lock(1)"))
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("the effects of a statement behind a long or odd text do not reach the next user", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		for _, before := range []string{
			"select '" + strings.Repeat("x", 100_000) + "'", `select '\'`, "do $$ begin end $$; select '--\\'",
		} {
			exec(t, db, before+"; set app.tenant = '42'")
			check.Equal(t, one[string](t, db, "select coalesce(current_setting('app.tenant', true), '')"), "")
		}
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a reset restores the settings of the connection string", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t),
			"search_path=pg_catalog", "options=-cstatement_timeout%3D1234"))
		db.SetMaxOpenConns(1)
		exec(t, db, "set search_path = public; set statement_timeout = 0; set application_name = 'x'")
		check.Equal(t, one[string](t, db, "show search_path"), "pg_catalog")
		check.Equal(t, one[string](t, db, "show statement_timeout"), "1234ms")
	})
	t.Run("an unread notification does not reach the next user", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		done, cancel := context.WithCancel(t.Context())
		cancel()
		see := func(conn *sql.Conn) (notifications int) {
			check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error {
				for {
					if _, err := c.WaitForNotification(done); err != nil {
						return nil
					}
					notifications++
				}
			}))
			return notifications
		}
		for want := range 2 { // the first round shows that there are some
			conn, err := db.Conn(t.Context())
			check.OK(t, err)
			_, err = conn.ExecContext(t.Context(), "listen news; notify news")
			check.OK(t, err)
			if want == 0 {
				check.Equal(t, see(conn), 1)
			}
			check.OK(t, conn.Close())
		}
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		check.Equal(t, see(conn), 0)
		check.OK(t, conn.Close())
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("session state does not reach a caller that waits for the connection", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=2"))
		inParallel(t, 8, func(worker int) error {
			for i := range 20 {
				left := leftovers[(worker+i)%len(leftovers)]
				if _, err := db.ExecContext(t.Context(), left.statement); err != nil {
					return err
				}
				var n int
				if err := db.QueryRowContext(t.Context(), left.look).Scan(&n); err != nil || n != 0 {
					return fmt.Errorf("%s: %d effects are left: %w", left.statement, n, err)
				}
			}
			return nil
		})
	})
}

func TestSessionReset(t *testing.T) {
	t.Run("a reset takes one round trip, and statements without effects need none", func(t *testing.T) {
		t.Parallel()
		db, proxy := behindProxy(t)
		db.SetMaxOpenConns(1)
		trips := func(query string) int64 {
			exec(t, db, "select 1") // afterwards the connection is not dirty
			proxy.Reset()
			exec(t, db, query)
			exec(t, db, "select 1")
			return proxy.RoundTrips()
		}
		for _, query := range []string{"select 1", "set local app.tenant = '1'", "select set_config('app.tenant', '1', true)",
			"select pg_advisory_xact_lock(1)", "create temp table t (n int) on commit drop"} {
			check.Equal(t, trips(query), 2)
		}
		check.Equal(t, trips("set app.tenant = '1'; listen news; select pg_advisory_lock(1); create temp table t (n int)"), 3)
	})
	t.Run("a reset that fails closes the connection", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, proxy.URI("postgres"))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		_, err = conn.ExecContext(t.Context(), "set app.tenant = '1'")
		check.OK(t, err)
		proxy.Cut()
		check.OK(t, conn.Close())
		check.Equal(t, one[string](t, db, showTenant), "")
		check.Equal(t, statsOf(t, db).Opened, 2)
	})
	t.Run("DB.Close ends a reset that hangs", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db, err := sql.Open(pgsafe.DriverName, proxy.URI("postgres"))
		check.OK(t, err)
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		_, err = conn.ExecContext(t.Context(), "set app.tenant = '1'")
		check.OK(t, err)
		proxy.Hang()
		check.OK(t, conn.Close()) // does not wait for the answer
		check.OK(t, db.Close())
	})
	t.Run("a reset follows a cancelled statement with effects", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		db.SetMaxOpenConns(1)
		_, err := db.ExecContext(whenItRuns(t, watch(t, uri), context.Canceled),
			"set app.tenant = '1'; select pg_advisory_lock(1), pg_sleep(60)")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindCanceled)
		check.Equal(t, one[int](t, db,
			"select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"), 0)
		check.Equal(t, one[string](t, db, showTenant), "")
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a caller that waits for a reset returns at its deadline, and the connection stays", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, with(proxy.URI("postgres"), "pool_max_conns=1"))
		db.SetMaxOpenConns(1)
		check.OK(t, db.PingContext(t.Context()))
		proxy.Delay(100 * time.Millisecond)
		exec(t, db, "set search_path = pg_temp")
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := db.ExecContext(short, "select 1")
		check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
		proxy.Delay(0)
		check.Equal(t, one[string](t, db, "show search_path"), `"$user", public`)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a reset keeps the settings of the context", func(t *testing.T) {
		t.Parallel()
		db, proxy := behindProxy(t)
		db.SetMaxOpenConns(1)
		ctx := tenant(t.Context(), "a")
		_, err := db.ExecContext(ctx, "listen news")
		check.OK(t, err)
		_, err = db.ExecContext(ctx, "select 1")
		check.OK(t, err)
		proxy.Reset()
		_, err = db.ExecContext(ctx, "select 1")
		check.OK(t, err)
		check.Equal(t, proxy.RoundTrips(), 1)
		_, err = db.ExecContext(ctx, "set app.tenant = 'b'")
		check.OK(t, err)
		check.Equal(t, tenantOf(t, ctx, db), "a")
		check.Equal(t, tenantOf(t, t.Context(), db), "")
	})
	t.Run("a reset is logged at a limited rate and without values", func(t *testing.T) {
		t.Parallel()
		var log syncBuffer
		db, err := pgsafe.Open(pgtest.Shared(t).Database(t), pgsafe.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		check.OK(t, err)
		for range 5 {
			exec(t, db, "set app.tenant = 's3cret'")
		}
		check.OK(t, db.Close())
		check.Equal(t, strings.Count(log.String(), "left something in its session"), 1)
		check.Equal(t, strings.Contains(log.String(), "SET app.tenant"), true)
		check.Equal(t, strings.Contains(log.String(), "s3cret"), false)
	})
	t.Run("a reset keeps prepared statements, with pool_reset=always too", func(t *testing.T) {
		t.Parallel()
		for _, reset := range []string{"pool_reset=leftovers", "pool_reset=always"} {
			db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1", reset))
			stmt, err := db.PrepareContext(t.Context(), "select 17 + $1::int")
			check.OK(t, err)
			defer stmt.Close()
			prepared := func() string {
				exec(t, db, "set app.tenant = '1'; prepare by_hand as select 18; create temp table t (n int)")
				check.OK(t, stmt.QueryRowContext(t.Context(), 1).Scan(new(int)))
				return one[string](t, db,
					"select string_agg(prepare_time::text, ',') from pg_prepared_statements where statement like $1",
					"select 17%")
			}
			check.Equal(t, prepared(), prepared())
		}
	})
	t.Run("statements that native code has prepared under names do not reach the next user", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
		for _, text := range []string{"select 1", "select 2"} {
			raw(t, t.Context(), db, func(c *pgx.Conn) error {
				_, err := c.Prepare(t.Context(), "mine", text)
				return err
			})
		}
		check.Equal(t, one[int](t, db,
			"select count(*)::int from pg_prepared_statements where name not like 'stmtcache%'"), 0)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("settings of the context hold after native code has changed them", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		ctx := tenant(t.Context(), "a")
		conn, err := db.Conn(ctx)
		check.OK(t, err)
		defer conn.Close()
		check.OK(t, pgsafe.Raw(conn, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "set app.tenant = 'b'")
			return err
		}))
		check.Equal(t, tenantOf(t, ctx, conn), "a")
		_, err = conn.ExecContext(ctx, "do $$ begin perform set_config('app.tenant', 'b', false); end $$")
		check.OK(t, err)
		check.Equal(t, tenantOf(t, ctx, conn), "a")
	})
}

// hidden are texts whose effects a reset cannot know, or cannot undo, as docs/sessions.md lists them. The query look
// reports whether the effect is there.
var hidden = []struct {
	name, text, look string
	undone           []string // by these values of pool_reset
}{
	{"a function", "select run('set app.tenant = 7')", "select coalesce(current_setting('app.tenant', true), '') <> ''",
		[]string{"always", "auth"}},
	{"a function that listens", "select run('listen news')", "select exists (select from pg_listening_channels())",
		[]string{"always", "auth"}},
	{"a trigger", "insert into commands values ('select pg_advisory_lock(1)')",
		"select exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())",
		[]string{"always", "auth"}},
	{"a column's default", "insert into defaulted (a) values (1)",
		"select exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())",
		[]string{"always", "auth"}},
	{"a function that sets the seed", "select run('select setseed(0.5)')", "select random() = first from seeded",
		[]string{"always", "auth"}},
	{"lastval() after an INSERT", "insert into serial default values", "select has_lastval()",
		[]string{"always", "auth"}},
	{"nextval()", "select nextval('numbers')", "select has_lastval()", []string{"always", "auth"}},
	{"LOAD", "load 'plpgsql'", "select current_setting('plpgsql.variable_conflict', true) is not null",
		[]string{"close"}},
	{"dblink", `select dblink_connect('other', format('host=%s port=%s user=%s dbname=%s', host(inet_server_addr()),
		inet_server_port(), current_user, current_database()))`, "select dblink_get_connections() is not null",
		[]string{"close"}},
}

func TestWhatAResetCannotKnow(t *testing.T) {
	for _, h := range hidden {
		for _, reset := range []string{"leftovers", "always", "auth", "close"} {
			if h.name == "LOAD" && (reset == "always" || reset == "auth") {
				continue // such a reset runs PL/pgSQL itself
			}
			undone := slices.Contains(h.undone, reset)
			name := "with pool_reset=" + reset + " the effect of " + h.name + " stays in the session"
			if undone {
				name = "with pool_reset=" + reset + " the effect of " + h.name + " does not reach the next user"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				key := "pool_reset=" + reset
				if reset == "auth" {
					key = "pool_profile=auth"
				}
				db := oneSession(t, key)
				if h.name == "dblink" {
					admin := beside(t, db)
					if one[int](t, admin, "select count(*)::int from pg_available_extensions where name = 'dblink'") == 0 {
						t.Skip("the server has no dblink")
					}
					exec(t, admin, "create extension dblink")
					check.OK(t, admin.Close())
				}
				exec(t, db, h.text)
				check.Equal(t, one[bool](t, db, h.look), !undone)
			})
		}
	}
}

func TestPoolResetClose(t *testing.T) {
	const ends = "with pool_reset=close a connection ends after a use with lasting effects, and after no other"
	t.Run(ends, func(t *testing.T) {
		t.Parallel()
		var log syncBuffer
		reader := sdkmetric.NewManualReader()
		meters := telemetry.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
		db, err := pgsafe.Open(with(pgtest.Shared(t).Database(t), "pool_reset=close", "pool_max_conns=1"),
			pgsafe.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), pgsafe.WithTelemetry(meters))
		check.OK(t, err)
		defer db.Close()
		opened := int64(1)
		for _, text := range []string{"select 1", "set local lock_timeout = 1"} {
			exec(t, db, text)
			check.Equal(t, one[int](t, db, "select 1"), 1)
			check.Equal(t, statsOf(t, db).Opened, opened)
		}
		for _, text := range []string{"set lock_timeout = 1", "listen news", "load 'plpgsql'", "do 'begin end'"} {
			exec(t, db, text)
			check.Equal(t, one[int](t, db, "select 1"), 1)
			opened++
			check.Equal(t, statsOf(t, db).Opened, opened)
		}
		raw(t, t.Context(), db, func(c *pgx.Conn) error { return nil })
		check.Equal(t, one[int](t, db, "select 1"), 1)
		check.Equal(t, statsOf(t, db).Opened, opened+1)
		check.Equal(t, statsOf(t, db).Failed, 0)
		check.Equal(t, strings.Contains(log.String(), "level=WARN"), false)
		for _, kind := range []string{"settings", "listen", "permanent"} {
			check.Equal(t, counted(t, reader, "pgsafe.session.leaked_state", kind), 1)
		}
		check.Equal(t, counted(t, reader, "pgsafe.session.leaked_state", "unknown"), 0)
	})
	t.Run("with pool_reset=close a caller that waits gets a connection of its own", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_reset=close", "pool_max_conns=2"))
		inParallel(t, 8, func(int) error {
			for range 5 {
				if _, err := db.ExecContext(t.Context(), "set app.tenant = '1'"); err != nil {
					return err
				}
				var left string
				if err := db.QueryRowContext(t.Context(), showTenant).Scan(&left); err != nil || left != "" {
					return fmt.Errorf("%q is left: %w", left, err)
				}
			}
			return nil
		})
	})
}

// hookTexts are what an application's function for new connections may run. A reset of the settings restores what it
// has set. Of the others those that it would undo make it close the connection.
var hookTexts = []struct{ text, endsWith string }{
	{"set statement_timeout = '77s'", ""},
	{"set role pg_monitor", ""},
	{"set session authorization pg_monitor", ""},
	{"set statement_timeout = '77s'; set session authorization pg_monitor; set role pg_read_all_stats", ""},
	{"listen news", "listen other"},
	{"create temp table scratch as select 1 as a", "set app.tenant = '1'"},
	{"select pg_advisory_lock(4712)", "select pg_advisory_lock(1)"},
	{"prepare by_hand as select 1", "prepare mine as select 1"},
	{"declare kept cursor with hold for select 1", "declare mine cursor with hold for select 1"},
}

func TestWhatHooksLeaveIsThereAfterAReset(t *testing.T) {
	// withHook opens a pool of one connection whose new connections run text, by WithAfterConnect or by pgconn's.
	withHook := func(t *testing.T, uri, text string, native bool, log *syncBuffer) *sql.DB {
		config, err := pgx.ParseConfig(uri)
		check.OK(t, err)
		opts := []pgsafe.Option{pgsafe.WithProfile(pgsafe.Profile{MaxConns: 1}),
			pgsafe.WithLogger(slog.New(slog.NewTextHandler(log, nil)))}
		if native {
			config.AfterConnect = func(ctx context.Context, c *pgconn.PgConn) error { return c.Exec(ctx, text).Close() }
		} else {
			opts = append(opts, pgsafe.WithAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
				_, err := c.Exec(ctx, text)
				return err
			}))
		}
		c, err := pgsafe.NewConnectorConfig(config, opts...)
		check.OK(t, err)
		return sql.OpenDB(c)
	}
	for _, hook := range hookTexts {
		for by, native := range map[string]bool{"WithAfterConnect": false, "pgconn's AfterConnect": true} {
			t.Run(fmt.Sprintf("what %s leaves by %q is there after a reset", by, hook.text), func(t *testing.T) {
				t.Parallel()
				var log syncBuffer
				uri := pgtest.Shared(t).Database(t)
				admin := open(t, pgsafe.DriverName, uri)
				exec(t, admin, sessionSchema)
				db := withHook(t, uri, hook.text, native, &log)
				defer db.Close()
				before := fingerprintOf(t, db)
				texts := []string{"set app.tenant = '1'", "set application_name = 'x'", "reset role", "listen other",
					"do 'begin end'", "set session authorization default; set role none", "discard all"}
				if hook.endsWith != "" {
					texts = append(texts, hook.endsWith)
				}
				for _, text := range texts {
					exec(t, db, text)
					if after := fingerprintOf(t, db); after != before {
						t.Errorf("after %s\nit is %s\nnot   %s", text, after, before)
					}
				}
				if hook.endsWith == "" {
					check.Equal(t, statsOf(t, db).Opened, 1)
				}
				check.Equal(t, statsOf(t, db).Failed, 0)
				check.Equal(t, strings.Contains(log.String(), "level=WARN"), false)
			})
		}
	}
	t.Run("a reset of another kind keeps the connection of a hook", func(t *testing.T) {
		t.Parallel()
		db := withHook(t, pgtest.Shared(t).Database(t), "listen news; prepare x as select 1", true, new(syncBuffer))
		defer db.Close()
		for _, text := range []string{"set app.tenant = '1'", "select pg_advisory_lock(1)", "create temp table s (a int)"} {
			exec(t, db, text)
		}
		check.Equal(t, one[int](t, db, "select count(*)::int from pg_listening_channels()"), 1)
		check.Equal(t, statsOf(t, db).Opened, 1)
		exec(t, db, "listen other")
		check.Equal(t, one[int](t, db, "select count(*)::int from pg_listening_channels()"), 1)
		check.Equal(t, statsOf(t, db).Opened, 2)
	})
	t.Run("a statement that a hook has prepared is there after native code and after DISCARD ALL", func(t *testing.T) {
		t.Parallel()
		db, err := pgsafe.Open(with(pgtest.Shared(t).Database(t), "pool_max_conns=1"),
			pgsafe.WithAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
				_, err := c.Prepare(ctx, "answer", "select 42")
				return err
			}))
		check.OK(t, err)
		defer db.Close()
		for _, use := range uses {
			check.OK(t, use.run(t.Context(), db, "select 1"))
			check.Equal(t, one[int](t, db, "answer"), 42)
		}
		check.Equal(t, statsOf(t, db).Opened, 1)
		exec(t, db, "discard all")
		check.Equal(t, one[int](t, db, "answer"), 42)
	})
	t.Run("the effects of a statement that a hook has prepared do not reach the next user", func(t *testing.T) {
		t.Parallel()
		db, err := pgsafe.Open(with(pgtest.Shared(t).Database(t), "pool_max_conns=1"),
			pgsafe.WithAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
				_, err := c.Prepare(ctx, "enter", "select set_config('app.tenant', $1, false)")
				return err
			}))
		check.OK(t, err)
		defer db.Close()
		for range 2 {
			check.Equal(t, one[string](t, db, "enter", "a"), "a")
			check.Equal(t, one[string](t, db, showTenant), "")
		}
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
}

func TestSettingsWithDatabaseSQLsOwnConnections(t *testing.T) {
	// With SetMaxOpenConns reached, database/sql opens connections in its own goroutine, without
	// the context of the caller that gets them (DB.connectionOpener).
	db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
	db.SetMaxOpenConns(2)
	db.SetConnMaxLifetime(time.Nanosecond)
	inParallel(t, 16, func(worker int) error {
		for i := range 50 {
			ctx, want := t.Context(), ""
			if (worker+i)%3 > 0 {
				want = fmt.Sprint(worker)
				ctx = session.WithSettings(ctx, map[string]string{"app.tenant": want})
			}
			var got string
			if err := db.QueryRowContext(ctx, showTenant).Scan(&got); err != nil || got != want {
				return fmt.Errorf("got %q, want %q: %w", got, want, err)
			}
		}
		return nil
	})
}
