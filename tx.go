package pgsafe

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/guard"
)

// Tx is a transaction under way. Its ROLLBACK does not depend on the context that it was begun with: database/sql rolls
// back when that ends, and pgx's own driver would close the connection for it.
type Tx struct {
	lease *Conn
	ctx   context.Context // BeginTx's
}

var _ driver.Tx = (*Tx)(nil)

// BeginTx begins a transaction.
func (l *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	local, err := l.useForTx(ctx)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, l.ended(ctx, driver.ErrBadConn) // pgx would close the connection (Conn.BeginTx, tx.go)
	}
	if _, err := l.stdConn.BeginTx(ctx, opts); err != nil {
		return nil, l.endedHarmless(ctx, err)
	}
	tx := &Tx{lease: l, ctx: ctx}
	if err := l.applyLocal(ctx, local); err != nil {
		_ = tx.Rollback() // it closes the connection if it fails
		return nil, err
	}
	return tx, nil
}

// Begin is BeginTx without a context.
func (l *Conn) Begin() (driver.Tx, error) {
	return l.BeginTx(context.Background(), driver.TxOptions{})
}

// Commit commits the transaction. It is pgx.ErrTxCommitRollback if the server rolled back instead, as it does after an
// error, and session.ErrCommitUnknown, wrapped, if the connection broke after it was sent. If the transaction's context ends
// meanwhile, the server still has the connector's cancel timeout to answer.
func (t *Tx) Commit() error {
	if err := t.lease.use(t.ctx); err != nil {
		return err
	}
	conn := t.lease.stdConn.Conn()
	usable := !conn.IsClosed()
	tag, err := conn.Exec(guard.Patient(t.ctx, t.lease.connector.patience), "commit")
	if err == nil && tag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	if err != nil && !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' {
		_ = t.Rollback() // it was not even sent; Rollback closes the connection if it fails
	}
	if err != nil && usable && conn.IsClosed() && !t.lease.phys.wire.NeverBegan(err) {
		return &commitUnknownError{err}
	}
	return err
}

// Rollback rolls the transaction back, for at most the connector's cancel timeout if its context has ended. If it fails
// the connection is closed, by which the server rolls back.
func (t *Tx) Rollback() error {
	ctx, cancel := t.lease.connector.rollbackContext(t.ctx)
	defer cancel()
	if err := t.lease.use(ctx); err != nil {
		return err
	}
	conn := t.lease.stdConn.Conn()
	_, err := conn.Exec(ctx, "rollback")
	if err != nil {
		closeNow(conn)
	}
	return err
}
