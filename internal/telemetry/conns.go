package telemetry

import (
	"runtime"
	"sync"
	"weak"
)

// conns are the connections of a pool. It does not keep a connection in memory, because not every
// pool calls ConnClosing for each: pgxpool closes a connection on its own when AfterConnect fails
// (pgxpool/pool.go, NewWithConfig), and gives it away in Hijack (pgxpool/conn.go).
type conns struct {
	mu   sync.Mutex
	open map[weak.Pointer[conn]]struct{}
}

func newConns() conns { return conns{open: make(map[weak.Pointer[conn]]struct{})} }

func (s *conns) add(c *conn) {
	w := weak.Make(c)
	runtime.AddCleanup(c, s.forget, w)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[w] = struct{}{}
}

func (s *conns) remove(c *conn) { s.forget(weak.Make(c)) }

func (s *conns) forget(w weak.Pointer[conn]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, w)
}

// abandon ends the statements that are open on any connection. A transaction can outlive its pool:
// it ends when the application ends it, or with its connection.
func (s *conns) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.open {
		if c := w.Value(); c != nil {
			c.abandonStatements()
		}
	}
}
