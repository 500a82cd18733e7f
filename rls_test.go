package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// tenants opens a database with orders of two tenants, of whom each may see its own only, as a user to whom policies
// apply.
func tenants(t *testing.T, params ...string) *sql.DB {
	t.Helper()
	uri := pgtest.Shared(t).Database(t)
	owner := open(t, pgsafe.DriverName, uri)
	user := fmt.Sprintf("app_%d", rand.Uint32())
	for _, statement := range []string{
		"create table orders (id bigserial primary key, tenant int not null default nullif(current_setting('app.tenant', true), '')::int, note text)",
		"insert into orders (tenant, note) select 1 + n % 2, 'first' from generate_series(1, 100) n",
		"alter table orders enable row level security",
		"create policy own on orders using (tenant = nullif(current_setting('app.tenant', true), '')::int)",
		"create role " + user + " login password 'app'",
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
	return open(t, pgsafe.DriverName, with(u.String(), params...))
}

// A tenant's code knows nothing of tenants. It is given a context, and counts the rows of others that it sees.
type tenantCode struct {
	db         *sql.DB
	stmt       *sql.Stmt
	seen, kept atomic.Int64 // rows read; and statements that were not cancelled
	strangers  atomic.Int64
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
			c.strangers.Add(1)
		}
	}
	return rows.Err()
}

// read is one of the ways to read.
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
	}
	return c.transact(ctx, tenant)
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

// run has both tenants and nobody read and write at once, with contexts that end at random.
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

// once runs one statement or transaction, and returns the errors that should not be.
func (c *tenantCode) once(ctx context.Context, rnd *rand.Rand) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tenant := rnd.IntN(3) // 0 is nobody
	if tenant > 0 {
		ctx = session.WithSettings(ctx, map[string]string{"app.tenant": fmt.Sprint(tenant)})
	}
	if rnd.IntN(3) == 0 {
		time.AfterFunc(upTo(rnd, 2*time.Millisecond), cancel)
	}
	way := rnd.IntN(4)
	err := c.read(ctx, way, tenant)
	nobodys := tenant == 0 && way == 3 && pgsafe.SQLState(err) == "42501" // orders of nobody are refused
	switch {
	case err == nil:
		c.kept.Add(1)
	case ctx.Err() != nil, errors.Is(err, context.Canceled), nobodys:
	default:
		return err
	}
	return nil
}

func TestRowLevelSecurity(t *testing.T) {
	for name, params := range map[string][]string{
		"with a pool of four":                {"pool_max_conns=4"},
		"without a cap":                      nil,
		"with a reset after each use":        {"pool_max_conns=4", "pool_reset=always"},
		"with connections closed on cancels": {"pool_max_conns=4", "pgsafe_cancel_timeout=0"},
	} {
		t.Run(name+" no tenant ever sees a row of another", func(t *testing.T) {
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
			check.Equal(t, code.strangers.Load(), 0)
			if code.seen.Load() == 0 || code.kept.Load() == 0 {
				t.Error("nothing was read: the test shows nothing")
			}
			t.Logf("%d rows read by %d statements and transactions that were not cancelled, none of another tenant's; %d connections opened",
				code.seen.Load(), code.kept.Load(), statsOf(t, db).Opened)
			check.Equal(t, one[int](t, db, "select count(*)::int from orders"), 0) // nobody's
		})
	}
	t.Run("so it is while backends are killed", func(t *testing.T) {
		t.Parallel()
		db := tenants(t, "pool_max_conns=4")
		w := watch(t, pgtest.Shared(t).SocketURI(one[string](t, db, "select current_database()")))
		var strangers, seen atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					tenant := 1 + (worker+n)%2
					ctx := session.WithSettings(context.Background(), map[string]string{"app.tenant": fmt.Sprint(tenant)})
					var least, most, rows int
					row := db.QueryRowContext(ctx, "select coalesce(min(tenant), 0), coalesce(max(tenant), 0), count(*) from orders where $1", true)
					if row.Scan(&least, &most, &rows) != nil {
						continue
					}
					seen.Add(int64(rows))
					if least != tenant || most != tenant || rows != 50 {
						strangers.Add(1)
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
		check.Equal(t, strangers.Load(), 0)
		t.Logf("%d rows read, all of them the reader's own", seen.Load())
	})
	t.Run("without the settings the driver would show them: the test can fail", func(t *testing.T) {
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
