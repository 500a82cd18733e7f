// Package sqlc keeps notes by code that sqlc has generated for database/sql.
package sqlc

import (
	"context"
	"database/sql"

	"github.com/pgsafe/pgsafe/examples/sqlc/queries"
	"github.com/pgsafe/pgsafe/session"
)

//go:generate go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate

// Notes keeps notes. It is safe for concurrent use.
type Notes struct {
	db *sql.DB
	*queries.Queries
}

// New returns the notes of db.
func New(db *sql.DB) *Notes { return &Notes{db, queries.New(db)} }

// Add adds a note.
func (n *Notes) Add(ctx context.Context, text string) error { return n.AddNote(ctx, text) }

// AddAll adds all notes or none. There is no WithTx: the context has the transaction.
func (n *Notes) AddAll(ctx context.Context, texts ...string) error {
	return session.Tx(ctx, n.db, nil, func(ctx context.Context) error {
		for _, text := range texts {
			if err := n.AddNote(ctx, text); err != nil {
				return err
			}
		}
		return nil
	})
}

// List returns the texts of all notes.
func (n *Notes) List(ctx context.Context) ([]string, error) { return n.ListNotes(ctx) }
