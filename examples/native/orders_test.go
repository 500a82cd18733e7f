package native_test

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/examples/native"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

//go:embed schema.sql
var schema string

// newShop returns both pools of an application, on a new database with the tables of sqlc's code and of river.
func newShop(t *testing.T) (*sql.DB, *pgxpool.Pool) {
	t.Helper()
	dsn := pgtest.Shared(t).Database(t)
	db, err := sql.Open(pgsafe.DriverName, dsn)
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, db.Close()) })
	pool, err := native.OpenPool(t.Context(), dsn)
	check.OK(t, err)
	t.Cleanup(pool.Close)

	_, err = db.ExecContext(t.Context(), schema)
	check.OK(t, err)
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	check.OK(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	check.OK(t, err)
	return db, pool
}

func TestOrders(t *testing.T) {
	t.Run("river ships what sqlc has stored, and the *sql.DB sees it", func(t *testing.T) {
		db, pool := newShop(t)
		orders, err := native.New(pool)
		check.OK(t, err)
		check.OK(t, orders.Start(t.Context()))
		check.OK(t, orders.Place(t.Context(), "a tent"))
		check.OK(t, orders.Place(t.Context(), "a lamp"))
		pgtest.Eventually(t, "both are shipped", func() bool {
			var shipped int
			check.OK(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM orders WHERE shipped").Scan(&shipped))
			return shipped == 2
		})
		got, err := orders.Shipped(t.Context())
		check.OK(t, err)
		if !slices.Equal(got, []string{"a tent", "a lamp"}) {
			t.Errorf("got %q", got)
		}
		check.OK(t, orders.Stop(t.Context()))
	})
	t.Run("an order that fails leaves no job", func(t *testing.T) {
		db, pool := newShop(t)
		orders, err := native.New(pool)
		check.OK(t, err)
		_, err = db.ExecContext(t.Context(), "ALTER TABLE river_job ADD CHECK (false)")
		check.OK(t, err)
		if kind := pgsafe.KindOf(orders.Place(t.Context(), "a tent")); kind != pgsafe.KindConstraint {
			t.Errorf("the error is of kind %v", kind)
		}
		var left int
		check.OK(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM orders").Scan(&left))
		if left > 0 {
			t.Errorf("%d orders are left", left)
		}
	})
	t.Run("a statement whose context ends is cancelled, and its connection goes on", func(t *testing.T) {
		db, pool := newShop(t)
		orders, err := native.New(pool)
		check.OK(t, err)
		check.OK(t, orders.Place(t.Context(), "a tent"))
		lock, err := db.BeginTx(t.Context(), nil)
		check.OK(t, err)
		_, err = lock.ExecContext(t.Context(), "LOCK TABLE orders")
		check.OK(t, err)
		before := pool.Stat().NewConnsCount()

		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err = orders.Shipped(ctx)
		if err = errors.Join(err, ctx.Err()); !errors.Is(err, context.DeadlineExceeded) || pgsafe.SQLState(err) != "57014" {
			t.Errorf("got %v", err)
		}
		check.OK(t, lock.Rollback())
		_, err = orders.Shipped(t.Context())
		check.OK(t, err)
		if opened := pool.Stat().NewConnsCount(); opened != before {
			t.Errorf("%d connections were opened", opened-before)
		}
	})
}
