package sqltext

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Cache keeps what was made of SQL texts. It holds a bounded number of texts, and of long ones
// fewer: they may take 4 MiB in all. So texts with embedded literals, each of them new, neither
// fill the memory nor drive out those that are in use. Of a text longer than 16 KiB only as much as
// is read counts. It is safe for concurrent use.
type Cache[V any] struct {
	value  func(sql string) V
	seed   maphash.Seed
	shards []shard[V]
}

// perShard is for how many texts a part of a cache has room, at least: enough that a few busy ones
// in the same part do not drive each other out, and few enough to copy the part for each text that
// is added.
const perShard = 64

// shardBytes bounds the texts of a part of a cache: with 2,048 texts, 32 parts of 2 KiB a text on
// average.
const shardBytes = perShard * 2 << 10

// NewCache returns a cache of at most limit texts, or of one if limit is less. value is called for
// each text that is not in it, by several goroutines at once if they ask for it at once.
func NewCache[V any](limit int, value func(sql string) V) *Cache[V] {
	limit = max(1, limit)
	c := &Cache[V]{value: value, seed: maphash.MakeSeed()}
	c.shards = make([]shard[V], max(1, limit/perShard))
	for i := range c.shards {
		c.shards[i].limit = limit / len(c.shards)
		c.shards[i].entries.Store(&map[uint64]*entry[V]{})
	}
	return c
}

// Get returns what value returned for sql. All callers get the same value for as long as the text
// is kept.
func (c *Cache[V]) Get(sql string) V {
	sql = sql[:min(len(sql), maxRead+1)] // no more of it is read; one byte more says that there is more
	hash := maphash.String(c.seed, sql)
	s := &c.shards[hash%uint64(len(c.shards))]
	if e := s.find(hash, sql); e != nil {
		return e.value
	}
	// The caller's string may be a part of a longer one, which the cache must not keep.
	e := &entry[V]{hash: hash, sql: strings.Clone(sql)}
	e.value = c.value(e.sql)
	return s.add(e).value
}

// Len returns how many texts are kept.
func (c *Cache[V]) Len() int {
	n := 0
	for i := range c.shards {
		n += len(*c.shards[i].entries.Load())
	}
	return n
}

// shard is a part of a cache. Readers take no lock: the map that they see is never written to, but
// replaced. When it is full, a hand goes around its ring and removes the first entry that was not
// used since the hand last passed.
type shard[V any] struct {
	entries atomic.Pointer[map[uint64]*entry[V]]
	mu      sync.Mutex  // guards replacing entries, and all below
	ring    []*entry[V] // the same entries, in the order of the hand
	hand    int
	bytes   int // of the texts
	limit   int
}

type entry[V any] struct {
	hash  uint64
	sql   string
	value V
	used  atomic.Bool
}

// find returns the entry of a text, or nil.
func (s *shard[V]) find(hash uint64, sql string) *entry[V] {
	e := (*s.entries.Load())[hash]
	if e == nil || e.sql != sql {
		return nil
	}
	if !e.used.Load() { // writing it each time would make readers wait for each other
		e.used.Store(true)
	}
	return e
}

// add keeps an entry, and returns the one that is kept for its text. Of two texts with the same
// hash, which is not to be expected in the life of a program, the first is kept.
func (s *shard[V]) add(e *entry[V]) *entry[V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := *s.entries.Load()
	if kept := entries[e.hash]; kept != nil {
		if kept.sql == e.sql {
			return kept
		}
		return e
	}
	entries = maps.Clone(entries)
	entries[e.hash] = e
	if len(s.ring) < s.limit {
		s.ring = append(s.ring, e)
	} else {
		delete(entries, s.replace(e).hash)
	}
	for s.bytes += len(e.sql); s.bytes > shardBytes && len(s.ring) > 1; {
		delete(entries, s.remove().hash)
	}
	s.entries.Store(&entries)
	return e
}

// next moves the hand to the first entry that was not used since the hand last passed, and returns
// it.
func (s *shard[V]) next() *entry[V] {
	for s.ring[s.hand].used.Swap(false) {
		s.hand = (s.hand + 1) % len(s.ring)
	}
	s.bytes -= len(s.ring[s.hand].sql)
	return s.ring[s.hand]
}

// replace puts an entry into the place of another one, which it returns.
func (s *shard[V]) replace(e *entry[V]) *entry[V] {
	old := s.next()
	s.ring[s.hand] = e
	s.hand = (s.hand + 1) % len(s.ring)
	return old
}

// remove takes an entry out and returns it.
func (s *shard[V]) remove() *entry[V] {
	old := s.next()
	s.ring = slices.Delete(s.ring, s.hand, s.hand+1)
	s.hand %= len(s.ring)
	return old
}
