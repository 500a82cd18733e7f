package session

import (
	"maps"
	"sync"
	"sync/atomic"
)

// memo is a map that is read all the time and written to now and then: readers take no lock, writers replace it. The zero
// value is empty.
type memo[K comparable, V any] struct {
	mu  sync.Mutex // guards replacing all
	all atomic.Pointer[map[K]V]
}

// get returns what is kept for a key.
func (m *memo[K, V]) get(key K) (value V, known bool) {
	if all := m.all.Load(); all != nil {
		value, known = (*all)[key]
	}
	return value, known
}

// add keeps a value, unless there are limit already.
func (m *memo[K, V]) add(key K, value V, limit int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[K]V{}
	if before := m.all.Load(); before != nil {
		if len(*before) >= limit {
			return
		}
		all = maps.Clone(*before)
	}
	all[key] = value
	m.all.Store(&all)
}
