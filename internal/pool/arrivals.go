package pool

import (
	"slices"
	"sync"
	"sync/atomic"
)

// arrivals are functions that each caller calls when it begins to wait. The zero value is ready to
// use.
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

// OnWait has f called by each caller that begins to wait, until stop is called.
func (p *Pool) OnWait(f func()) (stop func()) { return p.arrivals.add(f) }

// call calls the functions.
func (a *arrivals) call() {
	if all := a.all.Load(); all != nil {
		for _, f := range *all {
			(*f)()
		}
	}
}
