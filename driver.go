package pgsafe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"time"
)

// DriverName is the name under which pgsafe registers with database/sql:
//
//	db, err := sql.Open(pgsafe.DriverName, dsn)
const DriverName = "pgsafe"

// AliasName is a second name of the same driver. Libraries that take the SQL dialect from the part of a
// driver's name before the first dash (ent does) see "postgres".
const AliasName = "postgres-pgsafe"

func init() {
	for _, name := range []string{DriverName, AliasName} {
		Register(name)
	}
}

// Register makes the driver available to sql.Open under a further name, with opts applied to each Connector
// opened through it. A name that is already taken is left as it is, whoever took it; so Register may be called
// again. It is safe for concurrent use only as far as sql.Register is: call it from init or main.
func Register(name string, opts ...Option) {
	if slices.Contains(sql.Drivers(), name) {
		return
	}
	sql.Register(name, &Driver{opts: opts})
}

// Open opens dsn as sql.Open(DriverName, dsn) does, with options, and parks idle leases up to the pool's cap, so
// that a query in a warm pool takes no trip through it. The error is a *DSNError. No connection is made yet.
//
// With a cap, SetMaxIdleConns is set to it, and SetConnMaxIdleTime to the profile's MaxConnIdleTime. Both may be
// set anew on the returned DB.
func Open(dsn string, opts ...Option) (*sql.DB, error) {
	c, err := NewConnector(dsn, opts...)
	if err != nil {
		return nil, err
	}
	return openDB(c), nil
}

func openDB(c *Connector) *sql.DB {
	db := sql.OpenDB(c)
	c.observeDB(db)
	if limit := int(c.profile.MaxConns); limit > 0 {
		db.SetMaxIdleConns(limit)
		db.SetConnMaxIdleTime(c.config.MaxConnIdleTime)
		if c.native {
			// Bare connections cannot be asked to yield, so the cap has to hold one level up.
			db.SetMaxOpenConns(limit)
		}
	}
	return db
}

// Driver is the database/sql driver. The zero value is ready to use and safe for concurrent use.
type Driver struct {
	opts      []Option
	connector *Connector // set on the Driver that a Connector answers with, see ConnectorOf
}

var (
	_ driver.Driver        = (*Driver)(nil)
	_ driver.DriverContext = (*Driver)(nil)
)

// OpenConnector parses dsn and returns its *Connector. The error is a *DSNError, so that sql.Open reports a bad
// string at once. No connection is made.
func (d *Driver) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := NewConnector(dsn, d.opts...)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Open makes one connection that owns its pool: closing it closes both. Libraries that wrap drivers
// may call it; database/sql itself calls OpenConnector.
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	c, err := NewConnector(dsn, d.opts...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	conn, err := c.connect(ctx)
	if err != nil {
		_ = c.Close() // nothing was opened, so nothing can fail to close
		return nil, err
	}
	if std, ok := conn.(*stdConn); ok {
		return &ownedNative{std, c}, nil
	}
	return &ownedLease{conn.(*lease), c}, nil
}

// openTimeout is pgx's own (stdlib.Driver.Open).
const openTimeout = 60 * time.Second

// ownedLease and ownedNative are connections whose Connector ends with them. The aliases keep pgx's method Conn in
// sight, as with stdConn.
type (
	lease      = Conn
	ownedLease struct {
		*lease
		connector *Connector
	}
	ownedNative struct {
		*stdConn
		connector *Connector
	}
)

func (o *ownedLease) Close() error  { return errors.Join(o.lease.Close(), o.connector.Close()) }
func (o *ownedNative) Close() error { return errors.Join(o.stdConn.Close(), o.connector.Close()) }
