// Package bun keeps notes by bun.
package bun

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// Note is a row of notes, without the columns that the database fills in.
type Note struct {
	ID   int64 `bun:",pk,autoincrement"`
	Text string
}

// Notes keeps notes. It is safe for concurrent use.
type Notes struct{ db *bun.DB }

// New returns the notes of db.
//
// bun writes all values into the text. With default_query_exec_mode=exec in the connection string
// pgx does not prepare each text.
func New(db *sql.DB) *Notes { return &Notes{bun.NewDB(db, pgdialect.New())} }

// Add adds a note.
func (n *Notes) Add(ctx context.Context, text string) error { return add(ctx, n.db, text) }

func add(ctx context.Context, db bun.IDB, text string) error {
	_, err := db.NewInsert().Model(&Note{Text: text}).Exec(ctx)
	return err
}

// AddAll adds all notes or none.
func (n *Notes) AddAll(ctx context.Context, texts ...string) error {
	return n.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for _, text := range texts {
			if err := add(ctx, tx, text); err != nil {
				return err
			}
		}
		return nil
	})
}

// List returns the texts of all notes.
func (n *Notes) List(ctx context.Context) ([]string, error) {
	var texts []string
	err := n.db.NewSelect().Model((*Note)(nil)).Column("text").Order("id").Scan(ctx, &texts)
	return texts, err
}

// Page returns a page of notes, and the number of all. bun asks for both at once.
func (n *Notes) Page(ctx context.Context, limit int64) (page []Note, all int64, err error) {
	all, err = n.db.NewSelect().Model(&page).Order("id").Limit(limit).ScanAndCount(ctx)
	return page, all, err
}
