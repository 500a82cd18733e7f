package pgsafe_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
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

// tenants opens a database with orders of two tenants. The policies apply to its user, so each
// tenant sees only its own orders.
func tenants(t *testing.T, params ...string) *sql.DB {
	t.Helper()
	return open(t, pgsafe.DriverName, with(tenantsURI(t), params...))
}

// tenantsURI is tenants without the opening.
func tenantsURI(t *testing.T) string {
	t.Helper()
	uri := pgtest.Shared(t).Database(t)
	owner := open(t, pgsafe.DriverName, uri)
	user := fmt.Sprintf("app_%d", rand.Uint32())
	for _, statement := range []string{
		"create table orders (id bigserial primary key, " +
			"tenant int not null default nullif(current_setting('app.tenant', true), '')::int, note text)",
		"insert into orders (tenant, note) select 1 + n % 2, 'first' from generate_series(1, 100) n",
		"alter table orders enable row level security",
		"create policy own on orders using (tenant = nullif(current_setting('app.tenant', true), '')::int)",
		"create role " + user + " login password 'app'",
		"create function keep_tenant() returns text language sql " +
			"as $$ select set_config('app.tenant', current_setting('app.tenant', true), false) $$",
		"grant all on orders, orders_id_seq to " + user,
	} {
		exec(t, owner, statement)
	}
	t.Cleanup(func() {
		_, err := owner.Exec("drop owned by " + user + "; drop role " + user)
		check.OK(t, err)
	})
	u, err := url.Parse(uri)
	check.OK(t, err)
	u.User = url.UserPassword(user, "app")
	return u.String()
}

// tenantCode runs statements that do not name a tenant: the context has it. It counts the rows of
// other tenants that it sees.
type tenantCode struct {
	db         *sql.DB
	stmt       *sql.Stmt
	seen, kept atomic.Int64 // rows read; and statements that were not cancelled
	foreign    atomic.Int64 // rows of other tenants
}

func (c *tenantCode) check(rows *sql.Rows, tenant int) error {
	defer rows.Close()
	for rows.Next() {
		var of int
		if err := rows.Scan(&of); err != nil {
			return err
		}
		c.seen.Add(1)
		if of != tenant {
			c.foreign.Add(1)
		}
	}
	return rows.Err()
}

// keepers are statements that set their tenant for the session.
var keepers = []string{"select keep_tenant()", "do $$ begin perform keep_tenant(); end $$", "select 1; select keep_tenant()"}

// read reads in one of four ways, or leaves its tenant in the session.
func (c *tenantCode) read(ctx context.Context, way, tenant int) error {
	switch way {
	case 0:
		rows, err := c.db.QueryContext(ctx, "select tenant from orders limit 20")
		if err != nil {
			return err
		}
		return c.check(rows, tenant)
	case 1:
		rows, err := c.stmt.QueryContext(ctx, 20)
		if err != nil {
			return err
		}
		return c.check(rows, tenant)
	case 2:
		rows, err := c.db.QueryContext(ctx, "update orders set note = $1 where id % 50 = 0 returning tenant", "changed")
		if err != nil {
			return err
		}
		return c.check(rows, tenant)
	case 3:
		return c.transact(ctx, tenant)
	}
	_, err := c.db.ExecContext(ctx, keepers[way%len(keepers)])
	return err
}

func (c *tenantCode) transact(ctx context.Context, tenant int) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	rows, err := tx.QueryContext(ctx, "insert into orders (note) values ('new') returning tenant")
	if err != nil {
		return err
	}
	if err := c.check(rows, tenant); err != nil {
		return err
	}
	if rows, err = tx.QueryContext(ctx, "select tenant from orders limit 20"); err != nil {
		return err
	}
	if err := c.check(rows, tenant); err != nil {
		return err
	}
	return tx.Commit()
}

// run reads and writes at once for both tenants and without a tenant. Its contexts end at random.
func (c *tenantCode) run(t *testing.T) {
	t.Helper()
	inParallel(t, 16, func(worker int) error {
		rnd := rand.New(rand.NewPCG(1, uint64(worker)))
		for range 150 {
			if err := c.once(t.Context(), rnd); err != nil {
				return err
			}
		}
		return nil
	})
}

// once runs one statement or transaction, and returns unexpected errors.
func (c *tenantCode) once(ctx context.Context, rnd *rand.Rand) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tenant := rnd.IntN(3) // 0 is no tenant
	if tenant > 0 {
		ctx = session.WithSettings(ctx, map[string]string{"app.tenant": fmt.Sprint(tenant)})
	}
	if rnd.IntN(3) == 0 {
		time.AfterFunc(upTo(rnd, 2*time.Millisecond), cancel)
	}
	way := rnd.IntN(7)
	err := c.read(ctx, way, tenant)
	refused := tenant == 0 && way == 3 && pgsafe.SQLState(err) == "42501" // an order without a tenant
	switch {
	case err == nil:
		c.kept.Add(1)
	case ctx.Err() != nil, errors.Is(err, context.Canceled), refused:
	default:
		return err
	}
	return nil
}

// losesSettings is a connection on which the driver's settings are other ones, if it is broken.
type losesSettings struct {
	net.Conn
	broken *atomic.Bool
}

func (c losesSettings) Write(p []byte) (int, error) {
	if c.broken.Load() {
		p = bytes.ReplaceAll(p, []byte(`{"app.tenant"}`), []byte(`{"app.tenanx"}`))
	}
	return c.Conn.Write(p)
}

func TestRowLevelSecurity(t *testing.T) {
	for name, params := range map[string][]string{
		"with a pool of four":                {"pool_max_conns=4"},
		"without a cap":                      nil,
		"with a reset after each use":        {"pool_max_conns=4", "pool_reset=always"},
		"with connections closed on cancels": {"pool_max_conns=4", "pgsafe_cancel_timeout=0"},
	} {
		t.Run(name+", no tenant ever sees another tenant's row", func(t *testing.T) {
			t.Parallel()
			db := tenants(t, params...)
			if params == nil {
				db.SetMaxOpenConns(4)
			}
			stmt, err := db.PrepareContext(t.Context(), "select tenant from orders limit $1")
			check.OK(t, err)
			defer stmt.Close()
			code := &tenantCode{db: db, stmt: stmt}
			code.run(t)
			unused(t, db)
			check.Equal(t, code.foreign.Load(), 0)
			if code.seen.Load() == 0 || code.kept.Load() == 0 {
				t.Error("nothing was read: the test shows nothing")
			}
			t.Logf("%d rows read by %d statements and transactions that were not cancelled, "+
				"none of another tenant's; %d connections opened",
				code.seen.Load(), code.kept.Load(), statsOf(t, db).Opened)
			check.Equal(t, one[int](t, db, "select count(*)::int from orders"), 0) // without a tenant
		})
	}
	t.Run("tenants see each other's rows if settings do not reach the server, so this test can fail", func(t *testing.T) {
		t.Parallel()
		config, err := pgx.ParseConfig(with(tenantsURI(t), "sslmode=disable"))
		check.OK(t, err)
		var broken atomic.Bool
		dial := config.DialFunc
		config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return losesSettings{conn, &broken}, err
		}
		c, err := pgsafe.NewConnectorConfig(config)
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		db.SetMaxOpenConns(1)
		stmt, err := db.PrepareContext(t.Context(), "select tenant from orders limit $1")
		check.OK(t, err)
		defer stmt.Close()
		code := &tenantCode{db: db, stmt: stmt}
		ctx := tenant(t.Context(), "1")
		_, err = db.ExecContext(ctx, keepers[0])
		check.OK(t, err)
		broken.Store(true)
		for way := range 4 {
			before := code.foreign.Load()
			check.OK(t, code.read(tenant(t.Context(), "2"), way, 2))
			if code.foreign.Load() == before {
				t.Errorf("way %d did not notice", way)
			}
		}
	})
	t.Run("no tenant sees another tenant's row while backends are killed", func(t *testing.T) {
		t.Parallel()
		db := tenants(t, "pool_max_conns=4")
		w := watch(t, pgtest.Shared(t).SocketURI(one[string](t, db, "select current_database()")))
		var foreign, seen atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				const query = "select coalesce(min(tenant), 0), coalesce(max(tenant), 0), count(*) from orders where $1"
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					tenant := 1 + (worker+n)%2
					settings := map[string]string{"app.tenant": fmt.Sprint(tenant)}
					ctx := session.WithSettings(context.Background(), settings)
					var least, most, rows int
					row := db.QueryRowContext(ctx, query, true)
					if row.Scan(&least, &most, &rows) != nil {
						continue
					}
					seen.Add(int64(rows))
					if least != tenant || most != tenant || rows != 50 {
						foreign.Add(1)
					}
				}
			})
		}
		for range 10 {
			before := seen.Load()
			pgtest.Eventually(t, "rows are read", func() bool { return seen.Load() > before+500 })
			_, err := w.conn.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
				where datname = current_database() and pid <> pg_backend_pid() and application_name <> 'pgtest'`)
			check.OK(t, err)
		}
		close(stop)
		wg.Wait()
		check.Equal(t, foreign.Load(), 0)
		t.Logf("%d rows read, all of them the reader's own", seen.Load())
	})
	t.Run("a tenant set by SQL shows its rows, so the other tests can fail", func(t *testing.T) {
		t.Parallel()
		db := tenants(t)
		db.SetMaxOpenConns(1)
		conn, err := db.Conn(t.Context())
		check.OK(t, err)
		defer conn.Close()
		_, err = conn.ExecContext(t.Context(), "set app.tenant = 1")
		check.OK(t, err)
		var n int
		check.OK(t, conn.QueryRowContext(t.Context(), "select count(*) from orders where tenant = 1").Scan(&n))
		check.Equal(t, n, 50)
	})
}
