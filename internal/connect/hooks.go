package connect

import (
	"cmp"
	"context"
	"reflect"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// hookError is an error of the application's own function.
type hookError struct{ error }

func (e *hookError) Unwrap() error { return e.error }

func hookFailed(err error) error {
	if err == nil {
		return nil
	}
	return &hookError{err}
}

// askPassword sets config's password to the one that the application's function returns.
func (d *Dialer) askPassword(ctx context.Context, config *pgx.ConnConfig) error {
	if d.options.Password == nil {
		return nil
	}
	// The pool goes on with a dial whose caller has given up, so ctx may have no deadline.
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(config.ConnectTimeout, defaultTimeout))
	defer cancel()
	password, err := d.options.Password(ctx)
	if err != nil {
		return hookFailed(err)
	}
	d.redactor.Learn(password)
	config.Password = password
	return nil
}

func (d *Dialer) beforeConnect(ctx context.Context, config *pgx.ConnConfig) error {
	if d.options.BeforeConnect == nil {
		return nil
	}
	err := d.options.BeforeConnect(ctx, config)
	d.redactor.Learn(config.Password)
	return hookFailed(err)
}

// afterConnect is not left to pgx's stdlib, which does not close the connection if the function
// fails (stdlib/sql.go, connector.Connect).
func (d *Dialer) afterConnect(ctx context.Context, conn *pgx.Conn) error {
	if d.options.AfterConnect == nil {
		return nil
	}
	return hookFailed(d.options.AfterConnect(ctx, conn))
}

// hasHooks reports whether the application has put functions into config that pgconn calls with the
// new connection: AfterConnect, or a ValidateConnect that is not pgconn's own.
func hasHooks(config *pgconn.Config) bool {
	if config.AfterConnect != nil {
		return true
	}
	if config.ValidateConnect == nil {
		return false
	}
	for _, known := range []pgconn.ValidateConnectFunc{
		pgconn.ValidateConnectTargetSessionAttrsReadWrite, pgconn.ValidateConnectTargetSessionAttrsReadOnly,
		pgconn.ValidateConnectTargetSessionAttrsPrimary, pgconn.ValidateConnectTargetSessionAttrsStandby,
		pgconn.ValidateConnectTargetSessionAttrsPreferStandby,
	} {
		if sameFunc(config.ValidateConnect, known) {
			return false
		}
	}
	return true
}

// sameFunc compares two functions that are declared in a package, not closures.
func sameFunc(a, b pgconn.ValidateConnectFunc) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}
