package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"net"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
)

// maxConns is how many connections the doctor has open at the same time, at most.
const maxConns = 10

// applicationName is what the server's administrator sees.
const applicationName = "pgsafe doctor"

// patient is what the checks work on, and what they have learnt. Checks run one after another.
type patient struct {
	dsn    string
	report *pgsafe.Report // nil before the string was understood

	seen *observation // of the connection that the check of the server made; nil before

	mu     sync.Mutex      // guards config: connections are opened at once
	config *pgx.ConnConfig // of the last attempt to connect, with the password; nil before the first
}

// observation is what the client's side of one connection saw of it.
type observation struct {
	remote  net.Addr
	secured *tls.Conn // nil without TLS
	auth    *authReader
}

// open opens the string as sql.Open("pgsafe", dsn) does, except that the pool holds ten connections
// at most and opens none ahead, whatever the string asks for. If o is not nil, it gets to know what
// the next connection looks like.
func (p *patient) open(o *observation) (*sql.DB, *pgsafe.Connector, error) {
	c, err := pgsafe.NewConnector(p.dsn,
		pgsafe.WithProfile(pgsafe.Profile{MaxConns: maxConns}),
		pgsafe.WithBeforeConnect(func(_ context.Context, config *pgx.ConnConfig) error {
			introduce(config)
			p.mu.Lock()
			p.config = config.Copy()
			p.mu.Unlock()
			if o != nil {
				o.watch(config)
			}
			return nil
		}))
	if err != nil {
		return nil, nil, err
	}
	return sql.OpenDB(c), c, nil
}

// openChanged opens a configuration that differs from the string's: a wrong password, say.
func (p *patient) openChanged(change func(*pgx.ConnConfig)) (*sql.DB, error) {
	config := p.base()
	introduce(config)
	change(config)
	c, err := pgsafe.NewConnectorConfig(config, pgsafe.WithProfile(pgsafe.Profile{MaxConns: 1}))
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// base is a copy of the configuration of the last attempt to connect. There must have been one.
func (p *patient) base() *pgx.ConnConfig {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.config.Copy()
}

func introduce(config *pgx.ConnConfig) {
	config.RuntimeParams["application_name"] = applicationName
}
