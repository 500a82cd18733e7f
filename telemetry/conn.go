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
	tracer   *Tracer
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
	copies    bool                 // it is a COPY of pgx's
}

// customDataKey is where a conn hangs on its connection (pgconn.PgConn.CustomData).
const customDataKey = "github.com/pgsafe/pgsafe/telemetry"

// connOf returns what is remembered of c, from now on if it is new.
func (t *Tracer) connOf(c *pgx.Conn) *conn {
	if known, ok := knownConn(c); ok {
		return known
	}
	return t.remember(c, endpoint{t.config.Host, t.config.Port})
}

// knownConn returns what is remembered of c, if anything is.
func knownConn(c *pgx.Conn) (*conn, bool) {
	known, ok := c.PgConn().CustomData()[customDataKey].(*conn)
	return known, ok
}

func (t *Tracer) remember(c *pgx.Conn, e endpoint) *conn {
	known := &conn{tracer: t, pgx: c, server: t.serverAt(e), open: make([]running, 0, 2)}
	c.PgConn().CustomData()[customDataKey] = known
	t.conns.add(known)
	return known
}

func (c *conn) push(r running) {
	c.mu.Lock()
	c.open = append(c.open, r)
	c.mu.Unlock()
}

// underWay tells whether a statement or a transaction that is told of has not ended. What runs then is noted even if
// it is told of itself to nobody, because its end is that of the innermost, and may be that of the transaction.
func (c *conn) underWay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > 0 || c.tx != nil
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
	c.abandonStatements()
	c.endTransaction()
}

func (c *conn) abandonStatements() {
	for r, ok := c.pop(); ok; r, ok = c.pop() {
		if r.span != nil {
			r.span.SetAttributes(append(r.late[:len(r.late):len(r.late)], unclosedKey.Bool(true))...)
			r.span.End()
		}
	}
}

// Settled is called before a connection, on which nothing runs and no transaction is open, is put aside for another user.
// What is still noted of it is of no concern to that one: a statement whose end pgx did not tell (its argument
// panicked), and a wait after which nothing ran.
func (t *Tracer) Settled(pc *pgx.Conn) {
	if t == nil {
		return
	}
	if c, known := knownConn(pc); known {
		c.takeWait()
		if c.underWay() {
			c.abandon()
		}
	}
}

// ConnClosing is called before a connection is closed, by its pool.
func (t *Tracer) ConnClosing(pc *pgx.Conn) {
	if c, known := knownConn(pc); known {
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

// abandon ends the statements that are open on any of them. A transaction may go on after the pool was closed, and ends
// with what the application does, or with its connection.
func (s *conns) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.abandonStatements()
	}
}
