package pgsafe

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// What follows is for package session, which finds it at db.Driver(). On a Driver that is no Connector's (Connector.Driver)
// nobody waits, and no text leaves anything.

// Waiting reports whether somebody waits for a connection of the physical pool, all being in use. It is false for a pool
// without a cap.
func (d *Driver) Waiting() bool {
	return d.connector != nil && d.connector.lot.waiting()
}

// OnAcquire has f called whenever somebody is about to take a connection out of the physical pool, by that caller, until
// stop is called. f may give connections back.
func (d *Driver) OnAcquire(f func()) (stop func()) {
	if d.connector == nil {
		return func() {}
	}
	return d.connector.lot.arrivals.add(f)
}

// Leaves tells whether a statement leaves something in the server's session, as far as its words tell: SET, LISTEN, a
// temporary table, an advisory lock and so on. What was found for a text is remembered.
func (d *Driver) Leaves(text string) bool {
	return d.connector != nil && d.connector.residueOf(text) != nil
}

// Summary is what spans call a statement, without any of its literals.
func (d *Driver) Summary(text string) string { return sqltext.Read(text).Summary }

// TellsRows tells whether connections know a ctxrows.Watcher. They do not behind another layer, which has contexts of its own,
// and native ones do not.
func (d *Driver) TellsRows() bool {
	if d.connector == nil || d.connector.native {
		return false
	}
	_, bare := d.connector.layer.(innerConnector)
	return bare
}

// waiting tells whether anybody is in line, or acquires while the pool has nothing to give.
func (l *parkingLot) waiting() bool {
	if l.saturated == nil {
		return false
	}
	l.mu.Lock()
	acquiring, line := l.acquiring, len(l.line)
	l.mu.Unlock()
	return line > 0 || acquiring > 0 && l.saturated()
}

// arrivals are told of everybody who is about to acquire a connection. The zero value is ready to use.
type arrivals struct {
	mu  sync.Mutex // guards replacing all
	all atomic.Pointer[[]*func()]
}

func (a *arrivals) add(f func()) (remove func()) {
	a.replace(func(all []*func()) []*func() { return append(all, &f) })
	return func() {
		a.replace(func(all []*func()) []*func() {
			return slices.DeleteFunc(all, func(g *func()) bool { return g == &f })
		})
	}
}

func (a *arrivals) replace(by func([]*func()) []*func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*func()
	if before := a.all.Load(); before != nil {
		all = slices.Clone(*before)
	}
	all = by(all)
	a.all.Store(&all)
}

func (a *arrivals) tell() {
	if all := a.all.Load(); all != nil {
		for _, f := range *all {
			(*f)()
		}
	}
}
