// Package nest begins transactions for libraries that end them by themselves, such as gorm and ent:
// within session's Tx too, where they are savepoints. Where the choice is yours, use Tx: it nests
// by itself.
package nest

import (
	"context"
	"database/sql"
	"errors"

	"github.com/pgsafe/pgsafe/session"
)

// Runner runs statements.
type Runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// Tx is a transaction under way: a *sql.Tx, or a savepoint in one.
type Tx interface {
	Runner
	Commit() error
	Rollback() error
}

// Begin begins a transaction for one goroutine. If ctx is a context of Tx, the transaction is a
// savepoint in that Tx, for statements with ctx or a context made from it, and opts have no effect.
func Begin(ctx context.Context, db *session.DB, opts *sql.TxOptions) (Tx, error) {
	tx, err := db.BeginTx(ctx, opts)
	if err == nil {
		return tx, nil
	}
	if !errors.Is(err, session.ErrNested) {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, "SAVEPOINT nest"); err != nil {
		return nil, err
	}
	return &savepoint{db, ctx}, nil
}

// savepoint may be one of several with the same name: the server finds the innermost. It hides the
// BeginTx of the handle, because libraries take a type with BeginTx for no transaction yet.
type savepoint struct {
	Runner
	ctx context.Context // Begin's
}

func (s *savepoint) Commit() error {
	_, err := s.ExecContext(s.ctx, "RELEASE SAVEPOINT nest")
	return err
}

func (s *savepoint) Rollback() error {
	if _, err := s.ExecContext(s.ctx, "ROLLBACK TO SAVEPOINT nest"); err != nil {
		return err
	}
	return s.Commit()
}
