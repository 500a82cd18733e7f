package telemetry

import (
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// conn is the Tracer's state of one connection.
type conn struct {
	tracer   *Tracer
	pgx      *pgx.Conn
	server   *server
	prepared map[string]string // name to text of statements that the application prepared by name
	repeats  bool              // statements that have not begun run again: see Repeats

	// mu guards all fields below. A connection has one user at a time, but Tracer.Close may come
	// from another goroutine.
	mu       sync.Mutex
	open     []running // statements under way, the innermost last; the array is reused
	tx       *transaction
	pending  pending              // what belongs to the next statement
	held     *Repeat              // a statement that may run again, nil if there is none
	acquired time.Time            // when a pgxpool handed the connection out
	ending   []attribute.KeyValue // of the statement that ends; the array is reused
}

// running is a statement under way. A second one can begin in two ways: pgx runs it within the
// first, or it fails because the connection is busy. Either way it ends before the first.
type running struct {
	statement *statement
	started   time.Time            // when its caller began to wait for a connection, if it did
	ended     time.Time            // zero for now
	span      trace.Span           // nil if there is none
	late      []attribute.KeyValue // attributes that the span gets when it ends
	copies    bool                 // it is a COPY of pgx.Conn.CopyFrom
}

// customDataKey finds the conn of a connection in pgconn.PgConn.CustomData.
const customDataKey = "github.com/pgsafe/pgsafe/telemetry"

// connOf returns the state of c, which it makes if the Tracer did not see c being made.
func (t *Tracer) connOf(c *pgx.Conn) *conn {
	if known, ok := knownConn(c); ok {
		return known
	}
	config := c.Config()
	return t.remember(c, endpoint{config.Host, config.Port})
}

// knownConn returns the state of c, if it has any.
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

// underWay reports whether a statement or a transaction with a span or a measurement has not ended.
// A statement within it is noted even if it has neither: an end belongs to the innermost
// statement, and it may end the transaction.
func (c *conn) underWay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > 0 || c.tx != nil
}

// pop removes the innermost statement. It reports false if there is none: the statement began
// before there was an SDK, or abandon ended it.
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

// innermost returns the innermost statement, if there is one.
func (c *conn) innermost() (running, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) == 0 {
		return running{}, false
	}
	return c.open[len(c.open)-1], true
}

// abandon ends what is open on a connection that its user no longer uses, and flags it.
func (c *conn) abandon() {
	c.abandonStatements()
	c.endTransaction()
}

func (c *conn) abandonStatements() {
	c.letGo()
	for r, ok := c.pop(); ok; r, ok = c.pop() {
		if r.span != nil {
			r.span.SetAttributes(append(r.late[:len(r.late):len(r.late)], unclosedKey.Bool(true))...)
			r.span.End()
		}
	}
}

// ConnClosing ends what is open on conn and forgets it. The pool calls it before it closes conn.
func (t *Tracer) ConnClosing(conn *pgx.Conn) {
	if t == nil {
		return
	}
	if c, known := knownConn(conn); known {
		c.abandon()
		t.conns.remove(c)
	}
}
