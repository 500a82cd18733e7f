package session

import (
	"database/sql"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/scope"
)

// homeOf returns the home of the sessions of db, and moves a limit of db to its pool.
func homeOf(db *sql.DB) (*scope.Home, error) {
	c, ok := pgsafe.ConnectorOf(db)
	if !ok {
		return nil, ErrForeign
	}
	home, err := homeOn(c)
	if err != nil {
		return nil, err
	}
	if n := db.Stats().MaxOpenConnections; n > 0 {
		home.Pool.LimitTo(n)
		db.SetMaxOpenConns(0)
	}
	return home, nil
}

// homeOn returns the home of the sessions of a Connector.
func homeOn(c *pgsafe.Connector) (*scope.Home, error) {
	d, ok := c.Driver().(interface{ Home() *scope.Home })
	if !ok || d.Home() == nil {
		return nil, ErrForeign
	}
	return d.Home(), nil
}
