package serverconn

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"

	"github.com/pgsafe/pgsafe/internal/ctxsettings"
)

// ErrNativeSettings is the error of a statement whose context has settings, on a native connection.
var ErrNativeSettings = fmt.Errorf("pgsafe: %w: a connection of pgsafe_conn=native cannot follow the context", ctxsettings.Err)

// settingsRefuser keeps statements from running whose context has settings, on a connection that database/sql has
// opened without the caller's context, or holds.
type settingsRefuser struct{}

// Refusing returns tracer, which may be nil, with a settingsRefuser in front of it.
func Refusing(tracer pgx.QueryTracer) pgx.QueryTracer {
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

func (refusedContext) Err() error { return ErrNativeSettings }
