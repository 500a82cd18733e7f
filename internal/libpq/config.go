// Package libpq turns a connection string into pgx's configuration with the meaning that libpq
// gives it: with its environment variables, service and password files, and with the keywords that
// pgx does not have. What cannot be honoured is refused by name.
//
// Deliberate differences from libpq:
//   - An empty variable of the environment is not set.
//   - connect_timeout is 10 seconds by default, and TCP keepalives are Go's.
//   - Of several servers, pgx goes on to the next one where libpq ends: after a server that refuses TLS, runs as
//     another user than requirepeer names, or has a wrong certificate.
//   - With sslmode=prefer and allow, libpq tries each address with and without TLS before the next one. pgx tries all
//     addresses of a name with TLS and then all without, or the reverse. If hostaddr gives a name an
//     address, its addresses are all servers of that name.
package libpq

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// Config is what a connection string, the environment and the files that both name say about
// connecting.
type Config struct {
	// Conn is pgx's configuration. Connect with copies of it.
	Conn *pgx.ConnConfig
	// Warnings are for the log, in static words.
	Warnings []urlfix.Note
	// OnPassword is called with each password that is read from the password file, so that texts
	// can be kept clean of it. Set it before the first use of Settle.
	OnPassword func(password string)
	// OnUnusable is called when a file of TLS has changed and cannot be used, with what is wrong
	// with it. The files as they were before stay in force. Set it before the first use of Prepare.
	OnUnusable func(*urlfix.Error)

	tls        *transports // nil: TLS is not used, or is the application's
	passwords  *passwords  // nil: the password file is not asked
	balanceAll bool        // the servers are tried in random order
}

// Call Prepare with each copy of Conn before its use, and before the application changes it. It
// brings TLS up to date with its files. If the password comes from the password file, it removes
// the password.
func (c *Config) Prepare(conn *pgx.ConnConfig) {
	if c.balanceAll {
		shuffle(conn)
	}
	if c.tls != nil {
		c.tls.update(conn)
	}
	if c.passwords != nil {
		conn.Password = ""
	}
}

// Call Settle with each copy of Conn before its use, after Prepare and after the application
// changed it. Unless the application set a password, it reads the password file for the present
// servers, user and database.
func (c *Config) Settle(conn *pgx.ConnConfig) {
	if c.passwords != nil {
		c.passwords.settle(conn)
	}
}

// Read resolves all that d leaves open. The error is always a *urlfix.Error, and holds no secret
// and no path.
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
	if err := secure(c, k, s.sslPassword.Secret); err != nil {
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
	d := newDialer(k, c.Conn.ConnectTimeout)
	c.Conn.DialFunc = d.dial
	if len(servers) > 1 && anySocket(servers) {
		d.tellsPath = true
		c.Conn.AfterNetConnect = putFirst
	}
	r := &resolver{servers: servers, dns: c.Conn.LookupFunc}
	c.Conn.LookupFunc = r.lookup
	if k.get("load_balance_hosts") == "random" {
		c.Conn.LookupFunc = shuffled(r.lookup)
		c.balanceAll = true
	}
}

// askPassfile gives servers the passwords of the password file.
func (c *Config) askPassfile(servers []server, k keywords) {
	c.passwords = &passwords{passfile: passfileOf(k), servers: servers, onFound: c.foundPassword}
	if trouble := c.passwords.passfile.trouble(); trouble != "" {
		c.Warnings = append(c.Warnings, urlfix.Note{Part: k.part("passfile"), Text: trouble})
	}
	if len(servers) == 1 {
		c.passwords.settle(c.Conn) // for a caller that connects without Settle
	}
}

func (c *Config) foundPassword(password string) {
	if c.OnPassword != nil {
		c.OnPassword(password)
	}
}

func (c *Config) foundUnusable(err *urlfix.Error) {
	if c.OnUnusable != nil {
		c.OnUnusable(err)
	}
}

// PasswordHint says why a server that refused a login got no password, "" if it got one or may not
// have asked.
func (c *Config) PasswordHint(refused *pgconn.ConnectError) string {
	if refused.Config.Password != "" {
		return ""
	}
	if c.passwords != nil {
		if trouble := c.passwords.passfile.trouble(); trouble != "" {
			return trouble
		}
	}
	var pgErr *pgconn.PgError
	if errors.As(refused, &pgErr) && pgErr.Code == invalidPassword {
		return "no password was given: add it to the string, PGPASSWORD or a password file"
	}
	return ""
}

// invalidPassword is the SQLSTATE of a login with a wrong password. Other ways to log in have
// another one.
const invalidPassword = "28P01"
