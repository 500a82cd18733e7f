package scope

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/pgsafe/pgsafe/internal/pool"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// conn is one connection whose statements run one after another: a transaction's, or the one of a
// session whose statements have left session state.
type conn struct {
	home    *Home
	session *Session // nil outside sessions
	pooled  *pool.Conn
	server  *serverconn.Conn

	wire       sync.Mutex // guards the server connection, and the fields up to mu
	rows       *rows      // those that are read off the network
	inTx       bool
	options    driver.TxOptions // of the transaction
	savepoints int              // begun so far
	native     atomic.Bool      // native code has the wire
	//lint:ignore U1000 Go 1.27 uses it
	types types

	mu    sync.Mutex // guards the fields below; nothing else is locked under it
	lost  error      // why nothing runs on it any more
	first error      // of a statement since the transaction, or the last rollback to a savepoint, began
}

// take makes a conn of a connection that was acquired.
func (h *Home) take(c *pool.Conn, s *Session) *conn {
	return &conn{home: h, session: s, pooled: c, server: c.Server.(*serverconn.Conn)}
}

// lostNow returns why nothing runs on the connection any more, nil if it does.
func (c *conn) lostNow() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// settle looks what a statement, which ended with err, has done to the connection. The caller has the
// wire. The error that it returns is no driver.ErrBadConn.
func (c *conn) settle(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.first == nil && c.server.Aborted() {
		c.first = err
	}
	switch {
	case c.lost != nil && err != nil: // it was cut off meanwhile
		return withCause(c.lost, err)
	case c.lost != nil:
	case c.server.Closed():
		cause := err
		if cause == nil {
			cause = c.first
		}
		c.lost = withCause(ErrLost, cause)
		return c.lost
	case c.inTx && !c.server.Busy() && (!c.server.InTransaction() || c.server.Turned()):
		c.lost = withCause(ErrLost, errEndedByText)
		if c.server.InTransaction() {
			c.server.Close() // upon which the server rolls back what came after
		}
		return errors.Join(c.lost, err)
	}
	if errors.Is(err, driver.ErrBadConn) {
		return withCause(ErrLost, err)
	}
	return err
}

// firstError returns the first error in the transaction.
func (c *conn) firstError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

// forgive forgets the first error, which was rolled back.
func (c *conn) forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first = nil
}

// free gives the connection back to the pool, or to its session if it has session state.
func (c *conn) free() {
	c.wire.Lock()
	defer c.wire.Unlock()
	c.mu.Lock()
	if c.lost == nil {
		c.lost = ErrEnded
	}
	c.mu.Unlock()
	c.home.Release(c.pooled, c.server, c.session)
}

// cut ends what runs on the connection, and the connection.
func (c *conn) cut() {
	c.server.Cut()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.lost = withCause(ErrLost, errCut)
	}
}

// exec runs a statement that belongs to the transaction itself. The caller has the wire.
func (c *conn) exec(ctx context.Context, text string) error {
	return c.settle(c.server.Control(ctx, text))
}
