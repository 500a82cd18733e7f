package telemetry

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/sqlstate"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// The conventions want one span, and one measurement, for a call with all its retries. So the end
// of a statement that may run again is held back until it is known whether it does.

// Repeat is a statement that has failed, and that may run again.
type Repeat struct {
	running
	ctx     context.Context // pgx's, of the failed run
	outcome outcome
	tx      *transaction // that the statement began, nil if it is no BEGIN
}

// Repeats notes that pgsafe runs statements on conn again that have not begun. It is not called for
// connections whose user is the application.
func (t *Tracer) Repeats(conn *pgx.Conn) {
	if t != nil && t.tracesStatements() {
		t.connOf(conn).repeats = true
	}
}

// hold keeps a statement that has failed, if it may run again. It reports false if not.
func (c *conn) hold(ctx context.Context, r running, o outcome) bool {
	if !c.repeats || !o.failed() || !c.mayRepeat(o) {
		return false
	}
	held := &Repeat{running: r, ctx: ctx, outcome: o}
	held.ended = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) > 0 || c.tx != nil && r.statement.class != sqltext.Begin {
		return false
	}
	held.tx, c.tx = c.tx, nil
	c.held = held
	return true
}

// mayRepeat reports whether package serverconn may run a statement again outside a transaction: the
// connection broke, or the server refused its plan.
func (c *conn) mayRepeat(o outcome) bool {
	pc := c.pgx.PgConn()
	if pc.TxStatus() != 'I' {
		return false
	}
	return pc.IsClosed() || o.server != nil &&
		(o.server.Code == sqlstate.FeatureNotSupported || o.server.Code == sqlstate.InvalidSQLStatementName)
}

func (c *conn) takeHeld() *Repeat {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.held
	c.held = nil
	return held
}

// letGo ends the statement that is held back, because it does not run again.
func (c *conn) letGo() {
	held := c.takeHeld()
	if held == nil {
		return
	}
	c.tracer.metrics.statement(held.ctx, held.running, held.outcome, rowCount{})
	if held.span != nil {
		c.finish(held.running, held.outcome, rowCount{})
	}
	if held.tx != nil {
		held.outcome.mark(held.tx.span)
		held.tx.span.End(trace.WithTimestamp(held.ended))
	}
}

// goOn makes r the statement that runs again.
func (c *conn) goOn(ctx context.Context, r *running, again *Repeat) context.Context {
	*r = again.running
	r.ended = time.Time{}
	if again.tx != nil {
		c.mu.Lock()
		c.tx = again.tx
		c.mu.Unlock()
	}
	if r.span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, r.span)
}

// RepeatHere notes that the last statement on conn runs on conn again.
func (t *Tracer) RepeatHere(conn *pgx.Conn) {
	if t == nil {
		return
	}
	if c, known := knownConn(conn); known {
		if held := c.takeHeld(); held != nil {
			c.expect(func(p *pending) { p.again = held })
		}
	}
}

// repeating is the context of an acquire for a statement that runs again.
type repeating struct {
	context.Context
	statement *Repeat
}

// repeatedIn returns the statement that runs again, nil if none does.
func repeatedIn(ctx context.Context) *Repeat {
	if again, ok := ctx.(repeating); ok {
		return again.statement
	}
	return nil
}

// Repeat notes that the last statement on conn, which is gone, runs on another connection. The
// caller gives the context to the acquire of that connection.
func (t *Tracer) Repeat(ctx context.Context, conn *pgx.Conn) context.Context {
	if t == nil {
		return ctx
	}
	if again, ok := ctx.(repeating); ok {
		ctx = again.Context
	}
	if c, known := knownConn(conn); known {
		if held := c.takeHeld(); held != nil {
			return repeating{ctx, held}
		}
	}
	return ctx
}
