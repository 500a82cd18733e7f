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
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
	"github.com/pgsafe/pgsafe/telemetry"
)

// leaking are objects that set a tenant for the session. Their texts do not show it.
const leaking = `
	create function leak() returns text language sql as $$ select set_config('app.tenant', 'leaked', false) $$;
	create procedure leak_in_a_procedure() language sql as $$ select leak() $$;
	create view leaks as select leak();
	create table watched (n int);
	create function leak_in_a_trigger() returns trigger language plpgsql as $$ begin perform leak(); return new; end $$;
	create trigger leaks after insert on watched for each row execute function leak_in_a_trigger()`

// leakingTexts are statements that change a setting of the session behind the driver's back.
var leakingTexts = map[string]string{
	"a function":                  "select leak()",
	"a quoted function":           `select "public"."leak"()`,
	"a function in RETURNING":     "insert into kept values (1) returning leak()",
	"a trigger":                   "insert into watched values (1)",
	"a view":                      "select * from leaks",
	"a DO block":                  "do $$ begin perform set_config('app.' || 'tenant', 'leaked', false); end $$",
	"a procedure":                 "call leak_in_a_procedure()",
	"a prepared statement of SQL": "prepare leaks as select leak(); execute leaks; deallocate leaks",
	"EXPLAIN ANALYZE":             "explain analyze select leak()",
	"CREATE TABLE AS":             "create temp table copied on commit drop as select leak()",
}

// leakingWays run a text.
var leakingWays = map[string]func(ctx context.Context, db *sql.DB, text string) error{
	"Exec of the DB": func(ctx context.Context, db *sql.DB, text string) error {
		_, err := db.ExecContext(ctx, text)
		return err
	},
	"Query of the DB": func(ctx context.Context, db *sql.DB, text string) error {
		if strings.Contains(text, ";") && !strings.Contains(text, "$$") {
			text = "select leak()" // it takes one statement
		}
		rows, err := db.QueryContext(ctx, text)
		if err != nil {
			return err
		}
		for rows.Next() { //nolint:revive // a function runs for each row
		}
		return errors.Join(rows.Err(), rows.Close())
	},
	"a transaction": func(ctx context.Context, db *sql.DB, text string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, text)
		return errors.Join(err, tx.Commit())
	},
	"a sql.Conn": func(ctx context.Context, db *sql.DB, text string) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, text)
		return errors.Join(err, conn.Close())
	},
	"Raw": func(ctx context.Context, db *sql.DB, text string) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		err = pgsafe.Raw(conn, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, text)
			return err
		})
		return errors.Join(err, conn.Close())
	},
}

// eachWay returns ways to see a setting in ctx. Each is the first statement that it runs there.
func eachWay(t *testing.T, ctx context.Context) (ways []func(*sql.DB) (way, got string)) {
	t.Helper()
	const insert = "insert into seen select coalesce(current_setting('app.tenant', true), "
	executes := func(text string, args ...any) func(context.Context, querier) string {
		return func(ctx context.Context, q querier) (got string) {
			_, err := q.ExecContext(ctx, text, args...)
			check.OK(t, err)
			check.OK(t, q.QueryRowContext(ctx, "select min(tenant) from seen").Scan(&got))
			_, err = q.ExecContext(ctx, "delete from seen")
			check.OK(t, err)
			return got
		}
	}
	for what, see := range map[string]func(context.Context, querier) string{
		"Query":                   func(ctx context.Context, q querier) string { return tenantOf(t, ctx, q) },
		"Exec":                    executes(insert + "'')"),
		"Exec with arguments":     executes(insert+"$1)", ""),
		"Exec of a DO block":      executes("do $$ begin " + insert + "''); end $$"),
		"Exec of several texts":   executes("select 1; " + insert + "'')"),
		"Exec of CREATE TABLE AS": executes("create temp table c on commit drop as select 1; " + insert + "'')"),
		"a prepared statement": func(ctx context.Context, q querier) (got string) {
			stmt, err := q.PrepareContext(ctx, showTenant)
			check.OK(t, err)
			defer stmt.Close()
			check.OK(t, stmt.QueryRowContext(ctx).Scan(&got))
			return got
		},
	} {
		ways = append(ways,
			func(db *sql.DB) (string, string) { return what + " of the DB", see(ctx, db) },
			func(db *sql.DB) (string, string) {
				tx, err := db.BeginTx(ctx, nil)
				check.OK(t, err)
				got := see(ctx, tx)
				check.OK(t, tx.Commit())
				return what + " of a transaction", got
			},
			func(db *sql.DB) (string, string) {
				conn, err := db.Conn(ctx)
				check.OK(t, err)
				defer conn.Close()
				return what + " of a sql.Conn", see(ctx, conn)
			})
	}
	return append(ways, func(db *sql.DB) (way, got string) {
		raw(t, ctx, db, func(c *pgx.Conn) error { return c.QueryRow(ctx, showTenant).Scan(&got) })
		return "Raw", got
	})
}

func TestSettingsThatAFunctionChanges(t *testing.T) {
	for what, text := range leakingTexts {
		for way, run := range leakingWays {
			t.Run(fmt.Sprintf("a setting of the session from %s, run by %s, reaches no other statement", what, way),
				func(t *testing.T) {
					t.Parallel()
					db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "pool_max_conns=1"))
					exec(t, db, leaking)
					exec(t, db, "create table seen (tenant text)")
					exec(t, db, "create table kept (n int)")
					one, none := tenant(t.Context(), "1"), t.Context()
					check.Equal(t, tenantOf(t, one, db), "1") // the name is in use
					for _, ctx := range []context.Context{one, none} {
						for next, want := range map[context.Context]string{one: "1", none: ""} {
							for _, see := range eachWay(t, next) {
								_ = tenantOf(t, next, db) // the connection has next's settings
								check.OK(t, run(ctx, db, text))
								if where, got := see(db); got != want {
									t.Errorf("%s sees %q, want %q", where, got, want)
								}
							}
						}
					}
					check.Equal(t, statsOf(t, db).Opened, 1)
				})
		}
	}
}

// writes counts how often a client writes to a server, which is once for each round trip.
type writes struct {
	net.Conn
	count *atomic.Int64
}

func (w writes) Write(p []byte) (int, error) {
	w.count.Add(1)
	return w.Conn.Write(p)
}

// counting opens a database whose writes are counted.
func counting(t *testing.T, params ...string) (*sql.DB, *atomic.Int64) {
	t.Helper()
	config, err := pgx.ParseConfig(with(pgtest.Shared(t).Database(t), append(params, "sslmode=disable")...))
	check.OK(t, err)
	count, dial := new(atomic.Int64), config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return writes{conn, count}, err
	}
	c, err := pgsafe.NewConnectorConfig(config)
	check.OK(t, err)
	db := sql.OpenDB(c)
	t.Cleanup(func() { check.OK(t, db.Close()) })
	db.SetMaxOpenConns(1)
	return db, count
}

func TestRoundTripsOfSettings(t *testing.T) {
	db, count := counting(t)
	exec(t, db, "create table t (n int)")
	trips := func(f func()) int64 {
		f() // the first time a statement is prepared
		count.Store(0)
		f()
		return count.Load()
	}
	statements := map[string]func(context.Context){
		"a query": func(ctx context.Context) { tenantOf(t, ctx, db) },
		"an Exec with arguments": func(ctx context.Context) {
			_, err := db.ExecContext(ctx, "insert into t values ($1)", 1)
			check.OK(t, err)
		},
		"an Exec without arguments": func(ctx context.Context) {
			_, err := db.ExecContext(ctx, "insert into t values (1)")
			check.OK(t, err)
		},
		"a definition": func(ctx context.Context) {
			_, err := db.ExecContext(ctx, "comment on table t is 'x'")
			check.OK(t, err)
		},
		"a transaction": func(ctx context.Context) {
			tx, err := db.BeginTx(ctx, nil)
			check.OK(t, err)
			_, err = tx.ExecContext(ctx, "insert into t values (1)")
			check.OK(t, err)
			check.OK(t, tx.Commit())
		},
	}
	expect := func(when string, ctx context.Context, more map[string]int64) {
		for what, f := range statements {
			want := int64(1)
			if what == "a transaction" {
				want = 3
			}
			t.Run(fmt.Sprintf("%s %s takes %d round trips", what, when, want+more[what]), func(t *testing.T) {
				check.Equal(t, trips(func() { f(ctx) }), want+more[what])
			})
		}
	}
	expect("before a context has settings", t.Context(), nil)
	path := session.WithSettings(t.Context(), map[string]string{"search_path": "public"})
	definition := map[string]int64{"a definition": 1}
	expect("with settings", tenant(t.Context(), "1"), definition)
	expect("with a search_path", path, definition)
	expect("with a role", session.WithRole(t.Context(), one[string](t, db, "select current_user::text")), definition)
	expect("without settings, once others have some,", t.Context(), definition)
	i := 0
	t.Run("a query takes 1 round trip with settings that change each time", func(t *testing.T) {
		check.Equal(t, trips(func() {
			i++
			check.Equal(t, tenantOf(t, tenant(t.Context(), fmt.Sprint(i)), db), fmt.Sprint(i))
		}), 1)
	})
}

// Settings go in front of some texts, and take a round trip of their own with others.
var pipelinedTexts = map[string]bool{
	"select 1;":                   true,
	"select ';'":                  true,
	"/* a; b */ select 1; -- c;":  true,
	"(select 1) union values (2)": true,
	"with n as (select 1) insert into t select * from n": true,
	"table t":                               true,
	"show work_mem":                         true,
	"truncate t":                            true,
	"select pg_advisory_xact_lock(1)":       true,
	"update t set n = 2 where false":        true,
	"delete from t where false returning 1": true,
	"merge into t using t s on false when matched then do nothing": true,
	"select '" + strings.Repeat("x", 20_000) + "'":                 true,
	"":                   false,
	"select 1; select 2": false,
	"select '" + strings.Repeat(";", 20_000) + "'": false,
	"explain select 1":                        false,
	"vacuum t":                                false,
	"create index concurrently on t (n)":      false,
	"create table if not exists u (n int)":    false,
	"select 1 as n into temp v":               false,
	"analyze t":                               false,
	"lock table t":                            false, // and fails: there is no transaction
	"do $$ begin end $$":                      false,
	"set work_mem = '5MB'":                    false,
	"select set_config('a.b', 'c', false)":    false,
	"select pg_advisory_lock(1)":              false,
	"notify n":                                false,
	"comment on table t is 'x'":               false,
	"refresh materialized view m":             false,
	"declare c cursor with hold for select 1": false,
}

func TestWhichStatementsHaveSettingsInFront(t *testing.T) {
	db, count := counting(t)
	exec(t, db, "create table t (n int); create materialized view m as select 1")
	check.OK(t, db.QueryRowContext(tenant(t.Context(), "1"), showTenant).Scan(new(string)))
	conn, err := db.Conn(t.Context())
	check.OK(t, err)
	defer conn.Close()
	for text, want := range pipelinedTexts {
		short := text[:min(len(text), 60)]
		trips := map[bool]int64{true: 1, false: 2}[want]
		t.Run(fmt.Sprintf("an Exec of %q takes %d round trips with settings", short, trips), func(t *testing.T) {
			count.Store(0)
			_, err := conn.ExecContext(tenant(t.Context(), "1"), text)
			if err != nil && text != "lock table t" {
				t.Error(err)
			}
			check.Equal(t, count.Load(), trips)
		})
	}
}

func TestAllocationsOfSettings(t *testing.T) {
	db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
	db.SetMaxOpenConns(1)
	measure := func(ctx context.Context) float64 {
		return testing.AllocsPerRun(200, func() {
			var n int
			if err := db.QueryRowContext(ctx, "select $1::int", 1).Scan(&n); err != nil {
				t.Error(err)
			}
		})
	}
	bare := measure(t.Context())
	settings := measure(tenant(t.Context(), "1"))
	without := measure(t.Context())
	t.Logf("a query allocates %.1f times, with settings %.1f, without but a name in use %.1f", bare, settings, without)
	t.Run("settings that stay the same cost a query no allocation", func(t *testing.T) {
		if settings > bare+0.5 || without > bare+0.5 {
			t.Errorf("%.1f, with settings %.1f, without but a name in use %.1f", bare, settings, without)
		}
	})
}

func TestSearchPathOfAContext(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "exec", "describe_exec", "simple_protocol"} {
		t.Run("statements of two schemas with the same tables do not disturb each other in mode "+mode, func(t *testing.T) {
			t.Parallel()
			db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "default_query_exec_mode="+mode))
			db.SetMaxOpenConns(1)
			exec(t, db, `create schema a; create table a.items (id int, what text);
				create schema b; create table b.items (id text, what date, more int default 1)`)
			a := session.WithSettings(t.Context(), map[string]string{"search_path": "a"})
			b := session.WithSettings(t.Context(), map[string]string{"search_path": "b"})
			for range 4 {
				for _, c := range []struct {
					ctx  context.Context
					what string
				}{{a, "x"}, {b, "2020-01-01"}} {
					_, err := db.ExecContext(c.ctx, "insert into items (id, what) values ($1, $2)", "1", c.what)
					check.OK(t, err)
					rows, err := db.QueryContext(c.ctx, "select * from items where id = $1", "1")
					check.OK(t, err)
					check.OK(t, rows.Close())
					check.OK(t, rows.Err())
					stmt, err := db.PrepareContext(c.ctx, "select what from items where id = $1")
					check.OK(t, err)
					check.OK(t, stmt.QueryRowContext(c.ctx, "1").Scan(new(any)))
					check.OK(t, stmt.Close())
					tx, err := db.BeginTx(c.ctx, nil)
					check.OK(t, err)
					check.OK(t, tx.QueryRowContext(t.Context(), "select * from (select what, id from items) i limit 1").
						Scan(new(any), new(any)))
					_, err = tx.ExecContext(t.Context(), "update items set what = $2 where id = $1", "1", c.what)
					check.OK(t, err)
					check.OK(t, tx.Commit())
				}
			}
			check.Equal(t, one[string](t, db, "show search_path"), `"$user", public`)
		})
	}
	t.Run("roles with schemas of their own do not disturb each other", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		exec(t, db, `create role path_a; create role path_b;
			create schema path_a authorization path_a; create schema path_b authorization path_b;
			create table path_a.items (id int); create table path_b.items (id text);
			grant all on path_a.items to path_a; grant all on path_b.items to path_b`)
		defer exec(t, db, "drop schema path_a cascade; drop schema path_b cascade; drop role path_a, path_b")
		for range 4 {
			for _, role := range []string{"path_a", "path_b"} {
				ctx := session.WithRole(t.Context(), role)
				_, err := db.ExecContext(ctx, "insert into items values ($1)", "1")
				check.OK(t, err)
				check.OK(t, db.QueryRowContext(ctx, "select * from items").Scan(new(any)))
			}
		}
	})
}

func TestTransactionsWithSettings(t *testing.T) {
	t.Run("SET TRANSACTION may be the first statement of a transaction with settings", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		for _, ctx := range []context.Context{tenant(t.Context(), "1"), t.Context()} {
			tx, err := db.BeginTx(ctx, nil)
			check.OK(t, err)
			_, err = tx.ExecContext(ctx, "set transaction isolation level serializable")
			check.OK(t, err)
			check.OK(t, tx.Commit())
		}
	})
	t.Run("BEGIN has the options of the transaction, and its settings", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		ctx := tenant(t.Context(), "1")
		for level, want := range map[sql.IsolationLevel]string{
			sql.LevelDefault: "read committed", sql.LevelReadUncommitted: "read uncommitted",
			sql.LevelReadCommitted: "read committed", sql.LevelRepeatableRead: "repeatable read",
			sql.LevelSnapshot: "repeatable read", sql.LevelSerializable: "serializable",
		} {
			tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level, ReadOnly: level == sql.LevelSnapshot})
			check.OK(t, err)
			var got, readOnly string
			const show = "select current_setting('transaction_isolation'), current_setting('transaction_read_only')"
			check.OK(t, tx.QueryRowContext(ctx, show).Scan(&got, &readOnly))
			check.Equal(t, got, want)
			check.Equal(t, readOnly == "on", level == sql.LevelSnapshot)
			check.Equal(t, tenantOf(t, ctx, tx), "1")
			check.OK(t, tx.Commit())
		}
		_, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelLinearizable})
		check.Equal(t, err != nil, true)
	})
	t.Run("settings of a BEGIN that fails do not reach a statement without settings", func(t *testing.T) {
		t.Parallel()
		// No transaction of a standby is serializable (variable.c, check_XactIsoLevel).
		standby := pgtest.Standby(t, pgtest.Shared(t))
		db := open(t, pgsafe.DriverName, standby.URI("postgres"))
		db.SetMaxOpenConns(1)
		_, err := db.BeginTx(tenant(t.Context(), "1"), &sql.TxOptions{Isolation: sql.LevelSerializable})
		check.Equal(t, pgsafe.SQLState(err), "0A000")
		check.Equal(t, tenantOf(t, t.Context(), db), "")
	})
	t.Run("a setting that counts when a transaction begins holds for it", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		ctx := session.WithSettings(t.Context(), map[string]string{"default_transaction_read_only": "on"})
		exec(t, db, "create table t (n int)")
		_, err := db.ExecContext(ctx, "insert into t values ($1)", 1)
		check.Equal(t, pgsafe.SQLState(err), "25006")
		tx, err := db.BeginTx(ctx, nil)
		check.OK(t, err)
		_, err = tx.ExecContext(ctx, "insert into t values ($1)", 1)
		check.Equal(t, pgsafe.SQLState(err), "25006")
		check.OK(t, tx.Rollback())
		exec(t, db, "insert into t values ($1)", 1)
	})
	t.Run("a transaction that is begun by hand has the settings of its BEGIN", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		ctx := tenant(t.Context(), "1")
		_, err = conn.ExecContext(ctx, "begin")
		check.OK(t, err)
		check.Equal(t, tenantOf(t, ctx, conn), "1")
		check.Equal(t, tenantOf(t, t.Context(), conn), "1")
		_, err = conn.ExecContext(tenant(t.Context(), "2"), "select 1")
		check.Equal(t, errors.Is(err, session.ErrSettings), true)
		_, err = conn.ExecContext(ctx, "commit and chain")
		check.OK(t, err)
		check.Equal(t, tenantOf(t, ctx, conn), "1")
		_, err = conn.ExecContext(ctx, "rollback")
		check.OK(t, err)
		check.Equal(t, tenantOf(t, tenant(t.Context(), "2"), conn), "2")
	})
	t.Run("a transaction whose settings are refused leaves the connection usable", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		ctx := session.WithSettings(tenant(t.Context(), "1"), map[string]string{"work_mem": "s3cret"})
		for range 2 {
			_, err := db.BeginTx(ctx, nil)
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			check.Equal(t, strings.Contains(err.Error(), `"work_mem"`) && !strings.Contains(err.Error(), "s3cret"), true)
			check.Equal(t, tenantOf(t, t.Context(), db), "")
		}
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
	t.Run("a transaction whose context ends while it begins keeps its connection", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Shared(t).Database(t)
		db := open(t, pgsafe.DriverName, uri)
		db.SetMaxOpenConns(1)
		w, locker := watch(t, uri), watch(t, uri)
		exec(t, db, "select 1")
		check.OK(t, locker.exec("begin; lock table pg_ts_config in access exclusive mode"))
		ctx := session.WithSettings(whenItRuns(t, w, context.Canceled),
			map[string]string{"default_text_search_config": "danish"})
		_, err := db.BeginTx(ctx, nil)
		check.Equal(t, errors.Is(err, context.Canceled), true)
		check.OK(t, locker.exec("rollback"))
		check.Equal(t, one[string](t, db, "show default_text_search_config"), "pg_catalog.english")
		check.Equal(t, statsOf(t, db).Opened, 1)
	})
}

func TestNamesInUse(t *testing.T) {
	t.Run("a setting that was refused disturbs no other statement", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		for name, value := range map[string]string{"max_connections": "5", "nosuchname": "1", "app.no such": "1"} {
			ctx := session.WithSettings(t.Context(), map[string]string{name: value})
			_, err := db.ExecContext(ctx, "select 1")
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			_, err = db.BeginTx(ctx, nil)
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			_, err = db.ExecContext(ctx, "do $$ begin end $$")
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			_, err = db.PrepareContext(ctx, "select 1")
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
			_, err = db.QueryContext(ctx, "select $1::int", 1)
			check.Equal(t, errors.Is(err, session.ErrSettings), true)
		}
		exec(t, db, "select 1")
		check.Equal(t, tenantOf(t, tenant(t.Context(), "1"), db), "1")
	})
	t.Run("a setting whose name an extension forbids later disturbs no other statement", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		_, err := db.ExecContext(session.WithSettings(t.Context(), map[string]string{"plpgsql.tenant": "1"}), "select 1")
		check.OK(t, err)
		exec(t, db, "do $$ begin end $$") // loads PL/pgSQL, which reserves its prefix (guc.c, MarkGUCPrefixReserved)
		exec(t, db, "select 1")
		_, err = db.ExecContext(t.Context(), "do $$ begin end $$")
		check.OK(t, err)
		tx, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		check.OK(t, tx.Commit())
	})
	t.Run("DEALLOCATE ALL and DISCARD ALL do not disturb statements with settings", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		for i, text := range []string{"deallocate all", "discard all", "deallocate all"} {
			ctx := tenant(t.Context(), fmt.Sprint(i))
			check.Equal(t, tenantOf(t, ctx, conn), fmt.Sprint(i))
			_, err = conn.ExecContext(ctx, text)
			check.OK(t, err)
			check.Equal(t, tenantOf(t, ctx, conn), fmt.Sprint(i))
		}
	})
	t.Run("a role in use is taken off for contexts without one", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		user := one[string](t, db, "select current_user::text")
		ctx := session.WithRole(t.Context(), "pg_monitor")
		var got string
		check.OK(t, db.QueryRowContext(ctx, "select current_user::text").Scan(&got))
		check.Equal(t, got, "pg_monitor")
		exec(t, db, "do $$ begin perform set_config('role', 'pg_monitor', false); end $$")
		check.Equal(t, one[string](t, db, "select current_user::text"), user)
	})
	t.Run("the role none is refused in every spelling", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		for _, role := range []string{"none", "NONE", " None\t", "", " "} {
			_, err := db.ExecContext(session.WithRole(t.Context(), role), "select 1")
			if !errors.Is(err, session.ErrSettings) {
				t.Errorf("%q: got %v", role, err)
			}
		}
	})
	t.Run("a trace comment and settings go together", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
		db.SetMaxOpenConns(1)
		ctx := session.WithSettings(tenant(t.Context(), "1"), map[string]string{"search_path": "pg_catalog"})
		named := pgx.NamedArgs{"a": "x"}
		var got string
		check.OK(t, db.QueryRowContext(ctx, "select current_setting('app.tenant') || @a::text", named).Scan(&got))
		check.Equal(t, got, "1x")
		exec(t, db, "create table public.t (n text)")
		_, err := db.ExecContext(ctx, "insert into public.t values (current_setting('app.tenant') || @a)", named)
		check.OK(t, err)
		check.Equal(t, one[string](t, db, "select n from public.t"), "1x")
	})
}

func TestNothingShowsTheValueOfASetting(t *testing.T) {
	db := open(t, pgsafe.DriverName, pgtest.Shared(t).Database(t))
	ctx := session.WithRole(session.WithSettings(tenant(t.Context(), "s3cret"),
		map[string]string{"search_path": "s3cret, public"}), "pg_monitor")
	var all strings.Builder
	show := func(values ...any) {
		for _, v := range values {
			fmt.Fprintf(&all, "%s %v %+v %#v %q\n", v, v, v, v, v)
		}
	}
	conn, err := db.Conn(ctx)
	check.OK(t, err)
	defer conn.Close()
	rows, err := conn.QueryContext(ctx, showTenant)
	check.OK(t, err)
	check.OK(t, conn.Raw(func(driverConn any) error { show(driverConn); return nil }))
	show(ctx)
	check.OK(t, rows.Close())
	check.OK(t, conn.Raw(func(driverConn any) error { show(driverConn); return nil }))
	_, err = conn.ExecContext(ctx, "do $$ begin end $$")
	check.OK(t, err)
	tx, err := conn.BeginTx(ctx, nil)
	check.OK(t, err)
	check.OK(t, tx.Rollback())
	check.OK(t, conn.Raw(func(driverConn any) error { show(driverConn); return nil }))
	t.Run("contexts and handles show no value of a setting in any format", func(t *testing.T) {
		check.Equal(t, strings.Contains(all.String(), "s3cret"), false)
		check.Equal(t, strings.Contains(all.String(), "115 51 99 114 101 116"), false) // the same as numbers
		check.Equal(t, strings.Contains(all.String(), "0x73, 0x33, 0x63"), false)
	})
}

type tracedKey struct{}

// seenByTracer records what pgx's tracer is told of.
type seenByTracer struct{ started, ended []string }

func (s *seenByTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.started = append(s.started, data.SQL)
	return context.WithValue(ctx, tracedKey{}, data.SQL)
}

func (s *seenByTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	s.ended = append(s.ended, fmt.Sprint(ctx.Value(tracedKey{}), "|", data.CommandTag, "|", data.Err))
}

func TestTracersAndSettings(t *testing.T) {
	config, err := pgx.ParseConfig(pgtest.Shared(t).Database(t))
	check.OK(t, err)
	seen := &seenByTracer{}
	config.Tracer = seen
	c, err := pgsafe.NewConnectorConfig(config)
	check.OK(t, err)
	db := sql.OpenDB(c)
	defer db.Close()
	db.SetMaxOpenConns(1)
	exec(t, db, "create table t (n int primary key)")
	ctx := session.WithSettings(tenant(t.Context(), "s3cret"), map[string]string{"search_path": "public"})
	*seen = seenByTracer{}
	res, err := db.ExecContext(ctx, "insert into t values (1), (2)")
	check.OK(t, err)
	affected, err := res.RowsAffected()
	check.OK(t, err)
	_, err = db.ExecContext(ctx, "insert into t values ($1)", 3)
	check.OK(t, err)
	_, failed := db.ExecContext(ctx, "insert into t values (3)")
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true})
	check.OK(t, err)
	check.OK(t, tx.Commit())
	_, refused := db.ExecContext(session.WithSettings(ctx, map[string]string{"work_mem": "s3cret"}), "delete from t")
	t.Run("tracers see the application's texts, tags and errors, and nothing of its settings", func(t *testing.T) {
		check.Equal(t, affected, 2)
		check.Equal(t, pgsafe.SQLState(failed), "23505")
		check.Equal(t, errors.Is(refused, session.ErrSettings), true)
		check.Equal(t, strings.Join(seen.started, "\n"), strings.Join([]string{"insert into t values (1), (2)",
			"insert into t values ($1)", "insert into t values (3)", "begin isolation level serializable read only",
			"commit", "delete from t"}, "\n"))
		ended := strings.Join(seen.ended, "\n")
		for _, want := range []string{"insert into t values (1), (2)|INSERT 0 2|<nil>", "insert into t values ($1)|INSERT 0 1|<nil>",
			"insert into t values (3)||ERROR: duplicate key", "begin isolation level serializable read only|BEGIN|<nil>",
			"commit|COMMIT|<nil>", "delete from t||ERROR: the settings of the statement are refused (SQLSTATE 22023)"} {
			if !strings.Contains(ended, want) {
				t.Errorf("%q is missing in\n%s", want, ended)
			}
		}
		check.Equal(t, strings.Contains(ended, "s3cret"), false)
	})
}

func TestTraceCommentsAndSettings(t *testing.T) {
	for name, uri := range map[string]string{"a server": "", "a pooler": "pooler"} {
		t.Run("a statement with a trace comment has its settings on "+name, func(t *testing.T) {
			t.Parallel()
			if uri == "" {
				uri = pgtest.Shared(t).Database(t)
			} else {
				pooler, database := pooled(t, nil)
				uri = pooler.URI(database)
			}
			provider := sdktrace.NewTracerProvider()
			db, err := pgsafe.Open(uri, pgsafe.WithTelemetry(telemetry.WithTracerProvider(provider),
				telemetry.WithTraceComments()))
			check.OK(t, err)
			defer db.Close()
			exec(t, db, "create table t (query text)")
			ctx, span := provider.Tracer("t").Start(tenant(t.Context(), "1"), "s")
			defer span.End()
			ctx = session.WithSettings(ctx, map[string]string{"search_path": "public"})
			for range 2 {
				check.Equal(t, tenantOf(t, ctx, db), "1")
				_, err = db.ExecContext(ctx, "insert into t values (current_setting('app.tenant') || current_query())")
				check.OK(t, err)
				_, err = db.ExecContext(ctx, "insert into t values (current_setting('app.tenant') || $1 || current_query())", "")
				check.OK(t, err)
			}
			check.Equal(t, one[int](t, db, "select count(*)::int from t where query like '1/*traceparent=%'"), 4)
		})
	}
}
