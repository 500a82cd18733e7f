package telemetry

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// transactionName is the name of a transaction's span. The conventions have no name for it.
const transactionName = "TRANSACTION"

// The attributes of a transaction's span.
const (
	isolationKey  = attribute.Key("pgsafe.transaction.isolation_level") // only if BEGIN names one
	readOnlyKey   = attribute.Key("pgsafe.transaction.read_only")       // only if BEGIN sets the access mode
	outcomeKey    = attribute.Key("pgsafe.transaction.outcome")
	statementsKey = attribute.Key("pgsafe.transaction.statements")
)

// The values of outcomeKey.
const (
	outcomeCommit   = "commit"
	outcomePrepared = "prepared" // by PREPARE TRANSACTION
	outcomeRollback = "rollback"
	outcomeUnknown  = "unknown" // COMMIT was sent and not answered
)

// transaction is a transaction under way.
type transaction struct {
	span       trace.Span
	parent     trace.SpanContext // of BEGIN
	mode       []attribute.KeyValue
	statements int64 // without BEGIN and the statement that ends it
	aborted    bool  // a statement has failed, so COMMIT will roll back
}

// enter returns the context in which a statement's span begins. In a transaction, the parent is the
// transaction's span if the statement's context has no span or the same span as BEGIN had. Any
// other span stays the parent, and enter returns the transaction's span as a link.
func (t *Tracer) enter(
	ctx context.Context, c *conn, s *statement, more []trace.SpanStartOption,
) (context.Context, trace.SpanContext) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parent := trace.SpanContextFromContext(ctx)
	if c.tx == nil {
		if s.class != sqltext.Begin {
			return ctx, trace.SpanContext{}
		}
		c.tx = t.startTransaction(ctx, c, s.mode, more...)
	}
	if !parent.IsValid() || parent.Equal(c.tx.parent) {
		return trace.ContextWithSpan(ctx, c.tx.span), trace.SpanContext{}
	}
	if parent.Equal(c.tx.span.SpanContext()) {
		return ctx, trace.SpanContext{}
	}
	return ctx, c.tx.span.SpanContext()
}

func (t *Tracer) startTransaction(
	ctx context.Context, c *conn, mode []attribute.KeyValue, more ...trace.SpanStartOption,
) *transaction {
	_, span := t.tracer.Start(ctx, transactionName, append(more[:len(more):len(more)],
		trace.WithAttributes(c.server.attributes...), trace.WithAttributes(mode...))...)
	return &transaction{span: span, parent: trace.SpanContextFromContext(ctx), mode: mode}
}

// modeOf returns the attributes of a transaction that this text begins.
func modeOf(begin string) []attribute.KeyValue {
	words := strings.ToLower(strings.Join(strings.Fields(begin), " "))
	var mode []attribute.KeyValue
	for _, level := range []string{"serializable", "repeatable read", "read committed", "read uncommitted"} {
		if strings.Contains(words, "isolation level "+level) {
			mode = append(mode, isolationKey.String(level))
		}
	}
	switch {
	case strings.Contains(words, "read only"):
		mode = append(mode, readOnlyKey.Bool(true))
	case strings.Contains(words, "read write"):
		mode = append(mode, readOnlyKey.Bool(false))
	}
	return mode
}

// leave counts a statement that has ended, and ends the transaction if the statement did.
func (c *conn) leave(s *statement, o outcome, tag pgconn.CommandTag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tx == nil {
		return
	}
	if s.class != sqltext.Begin && s.class != sqltext.End {
		c.tx.statements++
	}
	pc := c.pgx.PgConn()
	if !pc.IsClosed() && pc.TxStatus() != 'I' {
		c.tx.aborted = pc.TxStatus() == 'E'
		if tag := tag.String(); s.class == sqltext.End && (tag == "COMMIT" || tag == "ROLLBACK") {
			how := strings.ToLower(tag)
			c.chain(how, outcomeOfEnd(s, o, how))
		}
		return
	}
	if s.class == sqltext.Begin && (o.failed() || o.canceled) {
		o.mark(c.tx.span)
		c.tx.span.End()
		c.tx = nil
		return
	}
	how := endOf(s, o, tag, pc.IsClosed(), c.tx.aborted)
	c.endTransactionLocked(how, outcomeOfEnd(s, o, how))
}

// outcomeOfEnd returns the outcome of a transaction that the statement s has ended.
func outcomeOfEnd(s *statement, o outcome, how string) outcome {
	switch {
	case how == outcomeUnknown:
		return failed(failure.ReasonCommitUnknown, failure.CommitUnknown)
	case how != outcomeRollback || !s.commits:
		return outcome{}
	case o.failed() || o.canceled:
		return o
	}
	return failed(failure.ReasonRolledBack, failure.Other)
}

// commitOutcome returns the outcome of a statement, which may be a COMMIT: it has failed if the
// server rolled back instead, as it does after an error, or if its answer is missing.
func (c *conn) commitOutcome(s *statement, o outcome, tag pgconn.CommandTag) outcome {
	switch {
	case !s.commits || o.canceled || o.server != nil:
		return o
	case o.failed() && c.pgx.IsClosed():
		return failed(failure.ReasonCommitUnknown, failure.CommitUnknown)
	case !o.failed() && tag.String() == "ROLLBACK":
		return failed(failure.ReasonRolledBack, failure.Other)
	}
	return o
}

// chain ends a transaction by COMMIT AND CHAIN or ROLLBACK AND CHAIN. It begins the next one, which
// has the same mode.
func (c *conn) chain(how string, o outcome) {
	before := c.tx
	c.endTransactionLocked(how, o)
	c.tx = c.tracer.startTransaction(trace.ContextWithSpanContext(context.Background(), before.parent), c, before.mode)
}

// endOf returns how the statement s ended a transaction. The server's tag is COMMIT only after a
// commit, but it belongs to the last statement of a text.
func endOf(s *statement, o outcome, tag pgconn.CommandTag, closed, aborted bool) string {
	switch last := tag.String(); {
	case last == "COMMIT":
		return outcomeCommit
	case last == "PREPARE TRANSACTION":
		return outcomePrepared
	case closed && s.commits:
		return outcomeUnknown
	case last != "ROLLBACK" && s.commits && !aborted && !o.failed() && !o.canceled:
		return outcomeCommit
	}
	return outcomeRollback
}

// endTransaction ends the transaction of a connection that is about to be closed. The server then
// rolls it back.
func (c *conn) endTransaction() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tx != nil {
		c.endTransactionLocked(outcomeRollback, outcome{})
	}
}

func (c *conn) endTransactionLocked(how string, o outcome) {
	span := c.tx.span
	if span.IsRecording() {
		span.SetAttributes(outcomeKey.String(how), statementsKey.Int64(c.tx.statements))
		o.mark(span)
		span.End()
	}
	c.tx = nil
}

// InTransaction returns ctx with the span of the transaction that is under way on conn, so that
// what the application does in the transaction is below it. It is ctx if there is no such span.
func (t *Tracer) InTransaction(ctx context.Context, conn *pgx.Conn) context.Context {
	if t == nil {
		return ctx
	}
	c, known := knownConn(conn)
	if !known {
		return ctx
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tx == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, c.tx.span)
}
