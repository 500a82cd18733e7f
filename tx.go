package pgsafe

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/pgsafe/pgsafe/internal/scope"
)

// tx is a transaction of database/sql.
type tx struct {
	handle *Conn
	ctx    context.Context // BeginTx's
}

var _ driver.Tx = (*tx)(nil)

// Commit commits the transaction. It is pgx.ErrTxCommitRollback if the server rolled back instead, as it does after an
// error, and session.ErrCommitUnknown, wrapped, if the connection broke after COMMIT was sent. If the transaction's
// context ends meanwhile, the server still has the connector's cancel timeout to answer.
func (t *tx) Commit() error {
	h := t.handle
	if h.pooled == nil {
		return sql.ErrTxDone
	}
	err := h.server.Commit(t.ctx)
	h.ended()
	return err
}

// Rollback rolls the transaction back, for at most the connector's cancel timeout if its context has ended. If it fails
// the connection is closed, upon which the server rolls back.
func (t *tx) Rollback() error {
	h := t.handle
	if h.pooled == nil {
		return sql.ErrTxDone
	}
	err := h.server.Rollback(t.ctx)
	h.ended()
	return err
}

// ended notes that the transaction is over.
func (h *Conn) ended() {
	h.inTx = false
	h.use.Idle()
	h.settle()
}

// nestedTx is a transaction of database/sql within a transaction of package session.
type nestedTx struct {
	handle       *Conn
	ctx          context.Context // BeginTx's
	outer, inner *scope.Level
}

// nest begins a transaction within the handle's level.
func (h *Conn) nest(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	inner, err := h.level.Nest(ctx, opts, 0)
	if err != nil {
		h.settle()
		return nil, err
	}
	t := &nestedTx{h, ctx, h.level, inner}
	h.level, h.inTx = inner, true
	return t, nil
}

// Commit keeps what was done in the transaction, as far as the outer one is committed.
func (t *nestedTx) Commit() error {
	t.leave()
	return t.inner.Commit(t.ctx, nil)
}

// Rollback undoes what was done in the transaction, and leaves the outer one as it is.
func (t *nestedTx) Rollback() error {
	t.leave()
	return t.inner.Rollback(t.ctx, nil)
}

func (t *nestedTx) leave() {
	t.handle.level = t.outer
	t.handle.ended()
}
