package pgsafe

import (
	"context"
	"database/sql/driver"
	"slices"
	"sync"
	"time"
)

// openTimeout bounds Driver.Open. It is pgx's own (stdlib.Driver.Open).
const openTimeout = 60 * time.Second

// Open returns a handle. The open handles of one string share a pool, with the string's cap, which
// closes with the last of them. It opens no connections ahead, whatever the profile says. Layers
// that know drivers only call Open for each handle; database/sql itself calls OpenConnector.
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	c, err := d.opened.take(dsn, d.opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	conn, err := c.inner.Connect(ctx)
	if err != nil {
		d.opened.release(dsn)
		return nil, err
	}
	closed := sync.OnceFunc(func() { d.opened.release(dsn) })
	if native, ok := conn.(*stdConn); ok {
		return &openedNative{native, closed}, nil
	}
	return &openedHandle{conn.(*handle), closed}, nil
}

// The aliases keep pgx's method Conn in sight, which an embedded field of that name would hide.
type (
	handle       = Conn
	openedHandle struct {
		*handle
		closed func()
	}
	openedNative struct {
		*stdConn
		closed func()
	}
)

// Close ends the handle, and the pool if it is the last one.
func (o *openedHandle) Close() error {
	defer o.closed()
	return o.handle.Close()
}

// Close ends the connection.
func (o *openedNative) Close() error {
	defer o.closed()
	return o.stdConn.Close()
}

// opened are the connectors behind Driver.Open, by string. The zero value has none.
type opened struct {
	mu  sync.Mutex // guards all
	all map[string]*openedConnector
}

// openedConnector is one of them, and how many handles use it.
type openedConnector struct {
	*Connector
	handles int
}

// take returns the string's connector. Each call needs a call of release.
func (o *opened) take(dsn string, opts []Option) (*Connector, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.all[dsn]
	if c == nil {
		made, err := NewConnector(dsn, append(slices.Clip(opts), withoutFloor)...)
		if err != nil {
			return nil, err
		}
		if o.all == nil {
			o.all = make(map[string]*openedConnector)
		}
		c = &openedConnector{Connector: made}
		o.all[dsn] = c
	}
	c.handles++
	return c.Connector, nil
}

// release closes the string's connector after its last use.
func (o *opened) release(dsn string) {
	o.mu.Lock()
	c := o.all[dsn]
	c.handles--
	last := c.handles == 0
	if last {
		delete(o.all, dsn)
	}
	o.mu.Unlock()
	if last {
		_ = c.Close() // its error is always nil
	}
}

// withoutFloor makes a pool that opens no connections ahead.
func withoutFloor(o *options) { o.isOpened = true }
