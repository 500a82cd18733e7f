// Package sqlc keeps notes by code that sqlc has generated. Its DBTX is what a *session.DB has:
// nothing else is needed, and instead of WithTx there is the context.
package sqlc

import (
	"context"

	"github.com/pgsafe/pgsafe/examples/sqlc/queries"
	"github.com/pgsafe/pgsafe/session"
)

//go:generate go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate

var _ queries.DBTX = (*session.DB)(nil)

// Notes keeps notes. It is safe for concurrent use.
type Notes struct {
	db      *session.DB
	queries *queries.Queries
}

// New returns the notes of db.
func New(db *session.DB) *Notes { return &Notes{db, queries.New(db)} }

// Add adds a note.
func (n *Notes) Add(ctx context.Context, text string) error { return n.queries.AddNote(ctx, text) }

// AddAll adds all notes or none.
func (n *Notes) AddAll(ctx context.Context, texts ...string) error {
	return n.db.Tx(ctx, nil, func(ctx context.Context) error {
		for _, text := range texts {
			if err := n.queries.AddNote(ctx, text); err != nil {
				return err
			}
		}
		return nil
	})
}

// List returns the texts of all notes.
func (n *Notes) List(ctx context.Context) ([]string, error) { return n.queries.ListNotes(ctx) }
