package pgsafe

import (
	"database/sql"
	"database/sql/driver"
	"slices"

	"github.com/pgsafe/pgsafe/internal/scope"
)

const (
	// DriverName is the name under which pgsafe registers with database/sql:
	//
	//	db, err := sql.Open(pgsafe.DriverName, dsn)
	DriverName = "pgsafe"

	// AliasName is a second name of the same driver. Libraries that take the SQL dialect from the part of a driver's
	// name before the first dash (ent does) see "postgres".
	AliasName = "postgres-pgsafe"
)

func init() {
	for _, name := range []string{DriverName, AliasName} {
		Register(name)
	}
}

// Register makes the driver available to sql.Open under a further name, with opts applied to each Connector opened
// through it. A name that is taken is left as it is, so Register may be called again. It is safe for concurrent use
// only as far as sql.Register is: call it from init or main.
func Register(name string, opts ...Option) {
	if slices.Contains(sql.Drivers(), name) {
		return
	}
	sql.Register(name, &Driver{opts: opts})
}

// Open opens dsn as sql.Open(DriverName, dsn) does, with options. The error is a *DSNError. No connection is made yet.
//
// With a cap, SetMaxIdleConns is set to it, so that database/sql keeps its handles. They cost nothing while idle. It
// may be set anew on the returned DB.
func Open(dsn string, opts ...Option) (*sql.DB, error) {
	c, err := NewConnector(dsn, opts...)
	if err != nil {
		return nil, err
	}
	return openDB(c), nil
}

func openDB(c *Connector) *sql.DB {
	db := sql.OpenDB(c)
	c.tracer.ObserveDB(db)
	limit := int(c.profile.MaxConns)
	if limit == 0 {
		return db
	}
	db.SetMaxIdleConns(limit)
	if _, native := c.inner.(nativeConnector); native {
		db.SetMaxOpenConns(limit) // there is no pool below that would hold the cap
		db.SetConnMaxIdleTime(c.profile.maxConnIdleTime())
	}
	return db
}

// Driver is the database/sql driver. The zero value is ready to use and safe for concurrent use.
type Driver struct {
	opts   []Option
	opened opened // by Open
}

var (
	_ driver.Driver        = (*Driver)(nil)
	_ driver.DriverContext = (*Driver)(nil)
)

// OpenConnector parses dsn and returns its *Connector. The error is a *DSNError, so that sql.Open reports a bad string
// at once. No connection is made.
func (d *Driver) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := NewConnector(dsn, d.opts...)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// connectorDriver is what a Connector answers when it is asked for its driver.
type connectorDriver struct {
	Driver
	connector *Connector
}

// ConnectorOf returns the Connector behind db. It reports false if db was not opened through pgsafe, or if a layer hides
// the Connector.
//
// A layer that was given another DB's driver keeps it and answers with it. A Connector answers each time with a new
// value, by which the two are told apart.
func ConnectorOf(db *sql.DB) (*Connector, bool) {
	first, ok := db.Driver().(*connectorDriver)
	if !ok || first == db.Driver() {
		return nil, false
	}
	return first.connector, true
}

// Home is for package session. It is nil with WithNativeConn.
func (d *connectorDriver) Home() *scope.Home { return d.connector.home }
