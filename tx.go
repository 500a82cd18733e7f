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
	h.place.Opened(scope.LeftConnection)
	h.settle()
}

// nest begins a transaction within a transaction of package session.
func (h *Conn) nest(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	before := h.inherits
	tx, err := h.place.Nest(ctx, h.settings(ctx), opts, h.ended)
	h.refused(err, before)
	h.inTx = err == nil
	h.settle()
	return tx, err
}
