package telemetry

import (
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// Started is a statement that has been given to pgx.
type Started struct {
	Summary string
	InTx    bool // in a transaction, the statements that begin and end it included
}

// recorders are functions that see each statement. There is one only while a test records.
type recorders struct {
	all atomic.Pointer[[]*func(Started)]
}

// Record calls f at the start of each statement of the pool until stop is called: of the
// application, of package session, and of native code. Pings are no statements. A statement that is
// tried again starts twice. Several goroutines may call f at once. An SDK is not needed.
func (t *Tracer) Record(f func(Started)) (stop func()) {
	t.recorders.change(func(all []*func(Started)) []*func(Started) { return append(all, &f) })
	return func() {
		t.recorders.change(func(all []*func(Started)) []*func(Started) {
			return slices.DeleteFunc(all, func(g *func(Started)) bool { return g == &f })
		})
	}
}

// change replaces the recorders by what edit makes of a copy of them.
func (r *recorders) change(edit func([]*func(Started)) []*func(Started)) {
	for {
		before := r.all.Load()
		var all []*func(Started)
		if before != nil {
			all = slices.Clone(*before)
		}
		var after *[]*func(Started)
		if all = edit(all); len(all) > 0 {
			after = &all
		}
		if r.all.CompareAndSwap(before, after) {
			return
		}
	}
}

// record shows a statement to the recorders. sql can be the name of a prepared statement.
func (t *Tracer) record(pc *pgx.Conn, sql string) {
	all := t.recorders.all.Load()
	if all == nil {
		return
	}
	c := t.connOf(pc)
	s := c.server.statements.Get(c.textOf(sql))
	if s.summary == "" {
		return
	}
	started := Started{s.summary, s.class == sqltext.Begin || pc.PgConn().TxStatus() != 'I'}
	for _, f := range *all {
		(*f)(started)
	}
}
