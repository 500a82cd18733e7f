package session

import (
	"maps"
	"sync"
	"sync/atomic"
)

// places remembers whose code is at a place. It is read all the time and written to now and then: readers take no lock, writers
// replace the map. The zero value is empty.
type places struct {
	mu  sync.Mutex // guards replacing all
	all atomic.Pointer[map[uintptr]owner]
}

// maxPlaces bounds what is remembered. The rest is looked up each time.
const maxPlaces = 4096

// of returns whose code is at pc.
func (p *places) of(pc uintptr) owner {
	if all := p.all.Load(); all != nil {
		if found, known := (*all)[pc]; known {
			return found
		}
	}
	found := ownerOf(caller(pc).frame())
	p.add(pc, found)
	return found
}

func (p *places) add(pc uintptr, found owner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[uintptr]owner{}
	if before := p.all.Load(); before != nil {
		if len(*before) >= maxPlaces {
			return
		}
		all = maps.Clone(*before)
	}
	all[pc] = found
	p.all.Store(&all)
}
