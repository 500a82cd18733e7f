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

var (
	_ pgx.BatchTracer    = settingsRefuser{}
	_ pgx.CopyFromTracer = settingsRefuser{}
)

// Refusing returns tracer, which may be nil, with a settingsRefuser in front of it.
func Refusing(tracer pgx.QueryTracer) pgx.QueryTracer {
	if tracer == nil {
		return settingsRefuser{}
	}
	return multitracer.New(settingsRefuser{}, tracer)
}

// TraceQueryStart returns a context that is done, with which pgconn sends nothing (PgConn.ExecParams and others).
func (settingsRefuser) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return refused(ctx)
}

// TraceBatchStart is TraceQueryStart for a batch of native code.
func (settingsRefuser) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return refused(ctx)
}

// TraceCopyFromStart is TraceQueryStart for a COPY of native code.
func (settingsRefuser) TraceCopyFromStart(
	ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData,
) context.Context {
	return refused(ctx)
}

// refused returns ctx if it has no settings.
func refused(ctx context.Context) context.Context {
	if ctxsettings.Of(ctx) == nil {
		return ctx
	}
	return refusedContext{ctx}
}

// TraceQueryEnd does nothing.
func (settingsRefuser) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchQuery does nothing.
func (settingsRefuser) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd does nothing.
func (settingsRefuser) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TraceCopyFromEnd does nothing.
func (settingsRefuser) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

// refusedContext is done, and says why.
type refusedContext struct{ context.Context }

var isDone = func() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}()

func (refusedContext) Done() <-chan struct{} { return isDone }

func (refusedContext) Err() error { return ErrNativeSettings }
