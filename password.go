package pgsafe

import (
	"cmp"
	"context"

	"github.com/jackc/pgx/v5"
)

// WithPassword asks f for the password of each new physical connection: for tokens that live for minutes, or a secret
// that is rotated. It outranks the password of the connection string, of the environment and of password files, with
// NewConnectorConfig too; what f returns is what is sent, the empty string included. f runs within connect_timeout, by
// several goroutines at once, and decides itself whether to keep a token for the next time. Its error ends the attempt
// to connect and reaches the caller. Passwords that it gave are kept out of errors and logs.
//
// A function of WithBeforeConnect runs after it, and may still change the password.
func WithPassword(f func(context.Context) (string, error)) Option {
	return func(o *options) { o.password = f }
}

// askPassword sets config's password to what the application's function says, if there is one.
func (c *Connector) askPassword(ctx context.Context, config *pgx.ConnConfig, f func(context.Context) (string, error)) error {
	if f == nil {
		return nil
	}
	// The pool goes on with a connection whose caller has given up (pgxpool.NewWithConfig), so ctx may have no end.
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(config.ConnectTimeout, defaultConnectTimeout))
	defer cancel()
	password, err := f(ctx)
	if err != nil {
		return hookFailed(err)
	}
	c.scrub.learn(password)
	config.Password = password
	return nil
}
