package telemetry

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// transactionName is the name of a transaction's span. The conventions have none for it.
const transactionName = "TRANSACTION"

// The attributes of a transaction's span.
const (
	isolationKey  = attribute.Key("pgsafe.transaction.isolation_level") // only if BEGIN names one
	readOnlyKey   = attribute.Key("pgsafe.transaction.read_only")       // only if BEGIN says so, one way or the other
	outcomeKey    = attribute.Key("pgsafe.transaction.outcome")
	statementsKey = attribute.Key("pgsafe.transaction.statements")
)

// The values of outcomeKey. What is unknown is a COMMIT that was sent and not answered.
const (
	outcomeCommit   = "commit"
	outcomePrepared = "prepared" // for a second phase: PREPARE TRANSACTION
	outcomeRollback = "rollback"
	outcomeUnknown  = "unknown"
)

// transaction is one under way, from BEGIN to what ends it.
type transaction struct {
	span       trace.Span
	parent     trace.SpanContext // of BEGIN
	mode       []attribute.KeyValue
	statements int64 // without BEGIN and what ends it
	aborted    bool  // a statement has failed, and COMMIT will roll back
}

// enter returns the context in which a statement's span begins. Within a transaction its parent is the transaction's
// span, if the statement's own context has no span or the one that BEGIN had; else that stays the parent, and
// the transaction is the link.
func (t *Tracer) enter(ctx context.Context, c *conn, s *statement) (context.Context, trace.SpanContext) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parent := trace.SpanContextFromContext(ctx)
	if c.tx == nil {
		if s.class != sqltext.Begin {
			return ctx, trace.SpanContext{}
		}
		c.tx = t.startTransaction(ctx, c, s.mode)
	}
	if !parent.IsValid() || parent.Equal(c.tx.parent) {
		return trace.ContextWithSpan(ctx, c.tx.span), trace.SpanContext{}
	}
	return ctx, c.tx.span.SpanContext()
}

func (t *Tracer) startTransaction(ctx context.Context, c *conn, mode []attribute.KeyValue) *transaction {
	_, span := t.tracer.Start(ctx, transactionName, trace.WithAttributes(c.server.attributes...), trace.WithAttributes(mode...))
	return &transaction{span: span, parent: trace.SpanContextFromContext(ctx), mode: mode}
}

// modeOf reads the attributes of a transaction out of the text that begins it.
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

// leave looks, after a statement, whether it ended the transaction.
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
			c.chain(strings.ToLower(tag))
		}
		return
	}
	if s.class == sqltext.Begin && (o.failed() || o.canceled) {
		o.mark(c.tx.span)
		c.tx.span.End()
		c.tx = nil
		return
	}
	c.endTransactionLocked(endOf(s, o, tag, pc.IsClosed(), c.tx.aborted))
}

// chain ends a transaction by COMMIT AND CHAIN or ROLLBACK AND CHAIN, which begin another of the same mode.
func (c *conn) chain(how string) {
	before := c.tx
	c.endTransactionLocked(how)
	c.tx = c.tracer.startTransaction(trace.ContextWithSpanContext(context.Background(), before.parent), c, before.mode)
}

// endOf tells how a transaction ended, of which the last statement is known. The server says COMMIT only if it did; but
// it says it of the last statement of a text.
func endOf(s *statement, o outcome, tag pgconn.CommandTag, closed, aborted bool) string {
	switch said := tag.String(); {
	case said == "COMMIT":
		return outcomeCommit
	case said == "PREPARE TRANSACTION":
		return outcomePrepared
	case closed && s.commits:
		return outcomeUnknown
	case said != "ROLLBACK" && s.commits && !aborted && !o.failed() && !o.canceled:
		return outcomeCommit
	}
	return outcomeRollback
}

// endTransaction ends one whose connection is given back or closed, by which the server rolls it back.
func (c *conn) endTransaction() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tx != nil {
		c.endTransactionLocked(outcomeRollback)
	}
}

func (c *conn) endTransactionLocked(how string) {
	span := c.tx.span
	if span.IsRecording() {
		span.SetAttributes(outcomeKey.String(how), statementsKey.Int64(c.tx.statements))
		if how == outcomeUnknown {
			span.SetStatus(codes.Error, "the outcome of COMMIT is unknown")
		}
		span.End()
	}
	c.tx = nil
}
