package pgsafe

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
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
		return nil, errNativeSettings
	case n.work.Context().Err() != nil:
		return nil, ErrClosed
	}
	made, err := n.dialer.Dial(ctx)
	if err != nil {
		return nil, n.dialer.Explain(ctx, err)
	}
	return made.Conn, nil
}

var errNativeSettings = fmt.Errorf("pgsafe: %w: a connection of pgsafe_conn=native cannot follow the context", ctxsettings.Err)

// settingsRefuser keeps statements from running whose context has settings, on a connection that database/sql has
// opened without the caller's context, or holds.
type settingsRefuser struct{}

// refusing returns tracer, which may be nil, with a settingsRefuser in front of it.
func refusing(tracer pgx.QueryTracer) pgx.QueryTracer {
	if tracer == nil {
		return settingsRefuser{}
	}
	return multitracer.New(settingsRefuser{}, tracer)
}

// TraceQueryStart returns a context that is done, with which pgconn sends nothing (PgConn.ExecParams and others).
func (settingsRefuser) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if ctxsettings.Of(ctx) == nil {
		return ctx
	}
	return refusedContext{ctx}
}

// TraceQueryEnd does nothing.
func (settingsRefuser) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// refusedContext is done, and says why.
type refusedContext struct{ context.Context }

var isDone = func() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}()

func (refusedContext) Done() <-chan struct{} { return isDone }

func (refusedContext) Err() error { return errNativeSettings }
