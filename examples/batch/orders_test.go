package batch_test

import (
	"context"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/examples/batch"
	"github.com/pgsafe/pgsafe/examples/internal/notestest"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const schema = `CREATE TABLE orders (id bigint PRIMARY KEY, amount bigint);
	CREATE TABLE sums AS SELECT 0::bigint AS amount`

// orders returns orders with the ids from 1 to n, of one cent each.
func orders(n int) []batch.Order {
	all := make([]batch.Order, n)
	for i := range all {
		all[i] = batch.Order{ID: int64(i + 1), Amount: 1}
	}
	return all
}

func TestImport(t *testing.T) {
	for _, tt := range []struct {
		name          string
		change        func(orders []batch.Order)
		imported, sum int
		state         string // SQLSTATE of the error
	}{
		{"all orders of an import are added", func([]batch.Order) {}, 1200, 1200, ""},
		{"an invalid order is skipped", func(o []batch.Order) { o[700].Amount = -10_000 }, 1200, 1199, ""},
		{"an import that fails keeps the chunks before", func(o []batch.Order) { o[700].ID = 1 }, 700, 700, "23505"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := notestest.Open(t)
			_, err := db.ExecContext(t.Context(), schema)
			check.OK(t, err)
			var progress []int
			worker := batch.NewWorker(db, func(done, _ int) { progress = append(progress, done) })
			all := orders(1200)
			tt.change(all)
			request, cancel := context.WithCancel(t.Context())
			cancel() // the import goes on
			imported, err := worker.Import(request, all)
			check.Equal(t, pgsafe.SQLState(err), tt.state)
			check.Equal(t, imported, tt.imported)
			check.Equal(t, progress[len(progress)-1], tt.imported)
			var sum int
			check.OK(t, db.QueryRowContext(t.Context(), "SELECT amount FROM sums").Scan(&sum))
			check.Equal(t, sum, tt.sum)
			notestest.AllReleased(t, db)
		})
	}
}
