package telemetry

import (
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// conn is what the tracer remembers of one physical connection.
type conn struct {
	pgx      *pgx.Conn
	server   *server
	prepared map[string]string // texts of statements that the application prepared under names of its own

	mu     sync.Mutex // guards all below; a connection has one user at a time, but Close may come from another
	open   []running  // statements that have not ended, the innermost last; its array is used again
	tx     *transaction
	waited time.Duration        // for the pool, by whom runs the next statement
	ending []attribute.KeyValue // of the statement that ends; its array is used again
}

// running is a statement under way. A second one begins only if it cannot run, because the connection is busy, and
// ends before the first; or if pgx runs it within the first.
type running struct {
	statement *statement
	started   time.Time
	span      trace.Span           // nil if there is none
	late      []attribute.KeyValue // those that it gets when it ends
}

// customDataKey is where a conn hangs on its connection (pgconn.PgConn.CustomData).
const customDataKey = "github.com/pgsafe/pgsafe/telemetry"

// connOf returns what is remembered of c, from now on if it is new.
func (t *Tracer) connOf(c *pgx.Conn) *conn {
	data := c.PgConn().CustomData()
	if known, ok := data[customDataKey].(*conn); ok {
		return known
	}
	return t.remember(c, endpoint{t.config.Host, t.config.Port})
}

func (t *Tracer) remember(c *pgx.Conn, e endpoint) *conn {
	known := &conn{pgx: c, server: t.serverAt(e), open: make([]running, 0, 2)}
	c.PgConn().CustomData()[customDataKey] = known
	t.conns.add(known)
	return known
}

func (c *conn) push(r running) {
	c.mu.Lock()
	c.open = append(c.open, r)
	c.mu.Unlock()
}

// pop reports false if no statement is open: it began before there was an SDK, or was ended by abandon.
func (c *conn) pop() (running, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.open) - 1
	if last < 0 {
		return running{}, false
	}
	r := c.open[last]
	c.open[last] = running{}
	c.open = c.open[:last]
	return r, true
}

// abandon ends what is open on a connection that nobody will use any more, and says so.
func (c *conn) abandon() {
	for r, ok := c.pop(); ok; r, ok = c.pop() {
		if r.span != nil {
			r.span.SetAttributes(append(r.late[:len(r.late):len(r.late)], unclosedKey.Bool(true))...)
			r.span.End()
		}
	}
	c.endTransaction()
}

// ConnClosing is called before a connection is closed, by its pool.
func (t *Tracer) ConnClosing(pc *pgx.Conn) {
	if c, known := pc.PgConn().CustomData()[customDataKey].(*conn); known {
		c.abandon()
		t.conns.remove(c)
	}
}

// conns are the connections of a pool that are open.
type conns struct {
	mu   sync.Mutex
	open map[*conn]struct{}
}

func (s *conns) add(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[c] = struct{}{}
}

func (s *conns) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// abandon ends what is open on any of them.
func (s *conns) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.abandon()
	}
}
