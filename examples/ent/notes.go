// Package ent keeps notes by a client that ent has generated.
package ent

import (
	"context"
	"database/sql"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/pgsafe/pgsafe/examples/ent/ent"
	"github.com/pgsafe/pgsafe/examples/ent/ent/note"
)

// Notes keeps notes. It is safe for concurrent use.
type Notes struct{ client *ent.Client }

// New returns the notes of db.
func New(db *sql.DB) *Notes {
	return &Notes{ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, db)))}
}

// Add adds a note.
func (n *Notes) Add(ctx context.Context, text string) error {
	return n.client.Note.Create().SetText(text).Exec(ctx)
}

// AddAll adds all notes or none.
func (n *Notes) AddAll(ctx context.Context, texts ...string) error {
	tx, err := n.client.Tx(ctx)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if err := tx.Note.Create().SetText(text).Exec(ctx); err != nil {
			_ = tx.Rollback() // if it fails the whole transaction does
			return err
		}
	}
	return tx.Commit()
}

// Rename replaces a text. ent makes a transaction of each update (sqlgraph.UpdateNode).
func (n *Notes) Rename(ctx context.Context, from, to string) error {
	found, err := n.client.Note.Query().Where(note.Text(from)).All(ctx)
	for _, one := range found {
		if err := one.Update().SetText(to).Exec(ctx); err != nil {
			return err
		}
	}
	return err
}

// List returns the texts of all notes.
func (n *Notes) List(ctx context.Context) ([]string, error) {
	return n.client.Note.Query().Order(note.ByID()).Select(note.FieldText).Strings(ctx)
}
