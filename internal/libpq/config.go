// Package libpq turns a connection string into pgx's configuration with the meaning that libpq gives it: with its
// environment variables, service and password files, and with the keywords that pgx does not have. What cannot be
// honoured is refused by name.
//
// Deliberate differences from libpq:
//   - An empty variable of the environment is not set.
//   - connect_timeout is 10 seconds where nobody says otherwise, and TCP keepalives are Go's.
package libpq

import (
	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// Config is what a connection string, the environment and the files that both name say about connecting.
type Config struct {
	// Conn is pgx's configuration. Connect with copies of it.
	Conn *pgx.ConnConfig
	// Warnings are for the log, in static words.
	Warnings []urlfix.Note
	// Prepare is to be called with each copy of Conn before its use, and before the application changes it. It may be
	// nil.
	Prepare func(*pgx.ConnConfig)
	// OnPassword is called with each password that is read from the password file, so that texts can be kept clean of
	// it. Set it before the first use of Prepare.
	OnPassword func(password string)

	passfile passfile // "" if it is not asked
}

// Read resolves all that d leaves open. The error is always a *urlfix.Error, and holds no secret and no path.
func Read(d *urlfix.DSN) (*Config, error) {
	c, err := read(d)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func read(d *urlfix.DSN) (*Config, *urlfix.Error) {
	s, err := settle(d)
	if err != nil {
		return nil, err
	}
	k := s.keywords
	servers, err := serversOf(k)
	if err != nil {
		return nil, err
	}
	c := &Config{}
	if c.Warnings, err = checkNetwork(k, servers); err != nil {
		return nil, err
	}
	if err := checkPassfile(k); err != nil {
		return nil, err
	}
	if err := checkTLS(k); err != nil {
		return nil, err
	}
	if c.Conn, err = s.parse(servers); err != nil {
		return nil, err
	}
	if err := secure(c, k, s.sslPassword); err != nil {
		return nil, err
	}
	c.connectTo(servers, k)
	if !s.password.IsSet() {
		c.askPassfile(servers, k)
	}
	return c, nil
}

// connectTo sets how the servers are found and dialled.
func (c *Config) connectTo(servers []server, k keywords) {
	c.Conn.DialFunc = newDialer(k, c.Conn.ConnectTimeout).dial
	r := &resolver{servers: servers, dns: c.Conn.LookupFunc}
	c.Conn.LookupFunc = r.lookup
	if k.get("load_balance_hosts") == "random" {
		c.Conn.LookupFunc = shuffled(r.lookup)
		c.alsoPrepare(shuffle)
	}
}

// askPassfile gives servers the passwords of the password file.
func (c *Config) askPassfile(servers []server, k keywords) {
	c.passfile = passfileOf(k)
	if trouble := c.passfile.trouble(); trouble != "" {
		c.Warnings = append(c.Warnings, urlfix.Note{Part: k.part("passfile"), Text: trouble})
	}
	p := &passwords{passfile: c.passfile, servers: servers, onFound: c.foundPassword}
	if len(servers) == 1 {
		p.prepare(c.Conn) // for who connects with it as it is
	}
	c.alsoPrepare(p.prepare)
}

func (c *Config) foundPassword(password string) {
	if c.OnPassword != nil {
		c.OnPassword(password)
	}
}

func (c *Config) alsoPrepare(next func(*pgx.ConnConfig)) {
	before := c.Prepare
	c.Prepare = func(conn *pgx.ConnConfig) {
		if before != nil {
			before(conn)
		}
		next(conn)
	}
}

// PasswordHint says why a server may have got no password, "" if there is no reason.
func (c *Config) PasswordHint() string {
	if c.passfile.path == "" {
		return ""
	}
	return c.passfile.trouble()
}
