package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
	"github.com/pgsafe/pgsafe/telemetry"
)

// leftovers are statements, and a query for what they leave in their session: a number, 0 on a new connection. The
// database has a role "clerk" that the user may take on.
var leftovers = []struct{ kind, statement, look string }{
	{"settings", "set app.tenant = '42'", "select length(coalesce(current_setting('app.tenant', true), ''))"},
	{"settings", "select set_config('statement_timeout', '77s', false)", "select (current_setting('statement_timeout') = '77s')::int"},
	{"settings", "set session characteristics as transaction read only", "select (current_setting('default_transaction_read_only') = 'on')::int"},
	{"role", "set role pg_monitor", "select (current_user = 'pg_monitor')::int"},
	{"role", "set session authorization pg_monitor", "select (session_user = 'pg_monitor')::int"},
	{"listen", "listen news", "select count(*)::int from pg_listening_channels()"},
	{"temporary", "create temp table scratch as select 1", "select (to_regclass('scratch') is not null)::int"},
	{"temporary", "select 1 into temp scratch", "select (to_regclass('scratch') is not null)::int"},
	{"lock", "select pg_advisory_lock(4711)", "select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"},
	{"cursor", "declare leftover cursor with hold for select 1", "select count(*)::int from pg_cursors where is_holdable"},
	{"prepared", "prepare by_hand as select 1", "select count(*)::int from pg_prepared_statements where from_sql"},
	{"deallocated", "deallocate all", "select 0"},
	{"deallocated", "discard all", "select 0"},
}

// ways are how a statement can be run, each on the one connection of a database.
var ways = map[string]func(context.Context, *sql.DB, string) error{
	"Exec": func(ctx context.Context, db *sql.DB, query string) error {
		_, err := db.ExecContext(ctx, query)
		return err
	},
	"Query, whose rows are left unread": func(ctx context.Context, db *sql.DB, query string) error {
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

func TestNothingReachesTheNextUser(t *testing.T) {
	for _, left := range leftovers {
		for way, run := range ways {
			if left.statement == "discard all" && way != "Exec" && way != "a prepared statement" && !strings.HasPrefix(way, "Query") {
				continue // it is refused in a transaction
			}
			t.Run(fmt.Sprintf("of %q by %s", left.statement, way), func(t *testing.T) {
				t.Parallel()
				reader := sdkmetric.NewManualReader()
				db, err := pgsafe.Open(pgtest.Shared(t).Database(t), pgsafe.WithTelemetry(telemetry.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))))
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
	t.Run("and a user who has it for longer keeps it", func(t *testing.T) {
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
	t.Run("an advisory lock is free once its user is done, though nobody uses the connection", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		exec(t, db, "select pg_advisory_lock(1)")
		// It waits for as long as it takes.
		check.OK(t, watch(t, uri).exec("select pg_advisory_lock(1)"))
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("of a statement that comes after more text than is read, or than is understood", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		for _, before := range []string{"select '" + strings.Repeat("x", 100_000) + "'", `select '\'`, "do $$ begin end $$; select '--\\'"} {
			exec(t, db, before+"; set app.tenant = '42'")
			check.Equal(t, one[string](t, db, "select coalesce(current_setting('app.tenant', true), '')"), "")
		}
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("what the connection string says is what a reset goes back to", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "search_path=pg_catalog", "options=-cstatement_timeout%3D1234"))
		db.SetMaxOpenConns(1)
		exec(t, db, "set search_path = public; set statement_timeout = 0; set application_name = 'x'")
		check.Equal(t, one[string](t, db, "show search_path")+one[string](t, db, "show statement_timeout"), "pg_catalog1234ms")
	})
	t.Run("nor do notifications that came meanwhile", func(t *testing.T) {
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
		for want := range 2 { // first to see that there are some
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
	t.Run("nor somebody who waits for the connection", func(t *testing.T) {
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
					return fmt.Errorf("%s: %d things are left: %w", left.statement, n, err)
				}
			}
			return nil
		})
	})
}

func TestResettingASession(t *testing.T) {
	t.Run("takes one round trip, and none after statements that leave nothing", func(t *testing.T) {
		t.Parallel()
		db, proxy := behindProxy(t)
		db.SetMaxOpenConns(1)
		trips := func(query string) int64 {
			exec(t, db, "select 1") // after which the connection is clean
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
	t.Run("that fails closes the connection", func(t *testing.T) {
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
	t.Run("does not outlive the database", func(t *testing.T) {
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
	t.Run("happens after a cancelled statement too", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		db.SetMaxOpenConns(1)
		_, err := db.ExecContext(whenItRuns(t, watch(t, uri), context.Canceled), "set app.tenant = '1'; select pg_advisory_lock(1), pg_sleep(60)")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindCanceled)
		check.Equal(t, one[int](t, db, "select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"), 0)
		check.Equal(t, one[string](t, db, showTenant), "")
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("keeps who waits for it no longer than his context does, and costs no connection", func(t *testing.T) {
		t.Parallel()
		proxy := pgtest.NewProxy(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, with(proxy.URI("postgres"), "pool_max_conns=1"))
		db.SetMaxOpenConns(1)
		check.OK(t, db.PingContext(t.Context()))
		proxy.Delay(100 * time.Millisecond)
		exec(t, db, "set search_path = pg_temp")
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := db.ExecContext(impatient, "select 1")
		check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
		proxy.Delay(0)
		check.Equal(t, one[string](t, db, "show search_path"), `"$user", public`)
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("spares what the context has set", func(t *testing.T) {
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
	t.Run("is told in the log, now and then, without values", func(t *testing.T) {
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
	t.Run("keeps prepared statements, always too", func(t *testing.T) {
		t.Parallel()
		for _, reset := range []string{"pool_reset=leftovers", "pool_reset=always"} {
			db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1", reset))
			stmt, err := db.PrepareContext(t.Context(), "select 17 + $1::int")
			check.OK(t, err)
			defer stmt.Close()
			prepared := func() string {
				exec(t, db, "set app.tenant = '1'; prepare by_hand as select 18; create temp table t (n int)")
				check.OK(t, stmt.QueryRowContext(t.Context(), 1).Scan(new(int)))
				return one[string](t, db, "select string_agg(prepare_time::text, ',') from pg_prepared_statements where statement like $1", "select 17%")
			}
			check.Equal(t, prepared(), prepared())
		}
	})
	t.Run("happens always with the auth profile, whatever hid the change", func(t *testing.T) {
		t.Parallel()
		const hidden = "do $$ begin perform set_config('app.tenant', 'x', false); perform pg_advisory_lock(1); end $$"
		uri := pgtest.Shared(t).Database(t)
		for profile, left := range map[string]string{"pool_profile=auth": "", "pool_reset=always": "", "pool_reset=leftovers": "x"} {
			db := open(t, pgsafe.DriverName, with(uri, profile, "pool_max_conns=1"))
			exec(t, db, hidden)
			check.Equal(t, one[string](t, db, showTenant), left)
			raw(t, t.Context(), db, func(c *pgx.Conn) error {
				_, err := c.Exec(t.Context(), "listen news")
				return err
			})
			if left == "" {
				check.Equal(t, one[int](t, db, "select count(*)::int from pg_listening_channels()"), 0)
			}
			check.Equal(t, statsOf(t, db).Opened, 1)
			check.OK(t, db.Close())
		}
	})
}

func TestSettingsWithDatabaseSQLsOwnConnections(t *testing.T) {
	// With SetMaxOpenConns reached, database/sql opens connections in a goroutine of its own, without the context of
	// the caller who gets them (DB.connectionOpener).
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
