package pgsafe

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// With WithNativeConn no lease stands between database/sql and pgx, so settings of the context are refused where that can
// be done: when a connection is asked for (Connector.connect), when one is used again, and when a statement begins.

// refuseSettings is asked by pgx's stdlib before database/sql uses a connection again. database/sql passes over any error
// but this one, and upon it asks for a new connection in the end (DB.conn, DB.retry): Connector.connect tells why.
func refuseSettings(ctx context.Context, _ *pgx.Conn) error {
	if ctxsettings.Of(ctx) != nil {
		return driver.ErrBadConn
	}
	return nil
}

// settingsRefuser keeps statements from running whose context has settings, on a connection that database/sql has opened
// without the caller's context, or holds.
type settingsRefuser struct{}

// refusing returns tracer, which may be nil, with a settingsRefuser in front of it.
func refusing(tracer pgx.QueryTracer) pgx.QueryTracer {
	if tracer == nil {
		return settingsRefuser{}
	}
	return multitracer.New(settingsRefuser{}, tracer)
}

// TraceQueryStart returns a context that is done, with which pgconn sends nothing (PgConn.ExecParams and its like).
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
