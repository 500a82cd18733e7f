package pgsafe

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/serverconn"
)

// With WithNativeConn database/sql holds pgx's own connections, one for each of its own. The pool has no part in it:
// what is left of pgsafe is how connections are made, and telemetry.

// stdConn is an alias so that embedding it makes no field named Conn, which would hide pgx's method Conn() *pgx.Conn.
type stdConn = stdlib.Conn

// nativeConnector makes native connections.
type nativeConnector struct{ *Connector }

// Connect dials. Settings of the context cannot be followed, so they are refused.
func (n nativeConnector) Connect(ctx context.Context) (driver.Conn, error) {
	switch {
	case ctxsettings.Of(ctx) != nil:
		return nil, serverconn.ErrNativeSettings
	case n.work.Context().Err() != nil:
		return nil, ErrClosed
	}
	made, err := n.dialer.Dial(ctx)
	if n.records.Dialed(ctx, err, n.dialer.Reason(err)); err != nil {
		n.records.Unserved()
		return nil, n.dialer.Explain(ctx, err)
	}
	return made.Conn, nil
}
