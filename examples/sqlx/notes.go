// Package sqlx keeps notes by sqlx.
package sqlx

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"github.com/pgsafe/pgsafe"
)

// sqlx chooses placeholders by the driver's name, from its own list (bind.go, defaultBinds). Without
// this, named arguments and Rebind leave question marks, which PostgreSQL refuses.
func init() { sqlx.BindDriver(pgsafe.DriverName, sqlx.DOLLAR) }

// Note is a row of notes, without the columns that the database fills in.
type Note struct {
	ID   int64
	Text string
}

// Notes keeps notes. It is safe for concurrent use.
type Notes struct{ db *sqlx.DB }

// New returns the notes of db.
func New(db *sql.DB) *Notes { return &Notes{sqlx.NewDb(db, pgsafe.DriverName)} }

// Add adds a note.
func (n *Notes) Add(ctx context.Context, text string) error {
	_, err := n.db.NamedExecContext(ctx, addNote, Note{Text: text})
	return err
}

const addNote = "INSERT INTO notes (text) VALUES (:text)"

// AddAll adds all notes or none.
func (n *Notes) AddAll(ctx context.Context, texts ...string) error {
	tx, err := n.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, text := range texts {
		if _, err := tx.NamedExecContext(ctx, addNote, Note{Text: text}); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// List returns the texts of all notes.
func (n *Notes) List(ctx context.Context) ([]string, error) {
	var texts []string
	err := n.db.SelectContext(ctx, &texts, "SELECT text FROM notes ORDER BY id")
	return texts, err
}
