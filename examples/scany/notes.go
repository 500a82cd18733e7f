// Package scany keeps notes by scany's sqlscan.
package scany

import (
	"context"
	"database/sql"

	"github.com/georgysavva/scany/v2/sqlscan"

	"github.com/pgsafe/pgsafe/session"
)

// Notes keeps notes. It is safe for concurrent use.
type Notes struct{ db *sql.DB }

// New returns the notes of db.
func New(db *sql.DB) *Notes { return &Notes{db} }

// Add adds a note.
func (n *Notes) Add(ctx context.Context, text string) error {
	_, err := n.db.ExecContext(ctx, "INSERT INTO notes (text) VALUES ($1)", text)
	return err
}

// AddAll adds all notes or none. scany has no transactions.
func (n *Notes) AddAll(ctx context.Context, texts ...string) error {
	return session.Tx(ctx, n.db, nil, func(ctx context.Context) error {
		for _, text := range texts {
			if err := n.Add(ctx, text); err != nil {
				return err
			}
		}
		return nil
	})
}

// List returns the texts of all notes.
func (n *Notes) List(ctx context.Context) ([]string, error) {
	var texts []string
	err := sqlscan.Select(ctx, n.db, &texts, "SELECT text FROM notes ORDER BY id")
	return texts, err
}
